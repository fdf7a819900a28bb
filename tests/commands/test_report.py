"""`report`: what the page and the other forms say, and that names of strangers stay text."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from listener import Listener
from result_files import students, write_results

import ddlabel
from ddlabel.core.errors import OutputExistsError, UsageError
from ddlabel.data.record import Record
from ddlabel.figures.markup import Markup, element

SOFT = [43.1, 44.0, 42.2, 43.7, 41.9]
DENSE = [56.0, 55.1, 57.2, 56.6, 54.8]
HOSTILE = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u202ex\x1b[31m"
# Elements without an end tag.
VOID = ("meta", "br", "img", "link", "input")


def soft_and_dense() -> list[Record]:
    dense = students(DENSE, bundle="dense.safetensors", labels="dense", global_labels="soft")
    return [*students(SOFT), *dense]


def page_of(records: list[Record], tmp_path: Path, name: str = "r.html", **options) -> str:
    out = tmp_path / name
    ddlabel.report(records, out=out, **options)
    return out.read_text()


class Elements(HTMLParser):
    """The elements of a page: tags, their attributes, and the texts inside."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.texts.append(data)


class TestPage:
    def test_it_has_the_figures_of_compare(self, tmp_path):
        text = page_of(soft_and_dense(), tmp_path)
        comparisons = ddlabel.compare(soft_and_dense(), paired=True)
        texts = Elements(text).texts
        for table in comparisons.tables():
            for row in table.rows:
                assert [cell for cell in row if cell not in texts] == []

    def test_it_has_the_history_of_every_bundle(self, tmp_path):
        texts = Elements(page_of(soft_and_dense(), tmp_path)).texts
        assert "ddlabel make soft.safetensors" in "".join(texts)
        assert "ddlabel make dense.safetensors" in "".join(texts)

    def test_a_chart_has_the_names_that_tell_rows_apart(self, tmp_path):
        other = students(SOFT, bundle="other.safetensors", loss="kl", labels="hard")
        texts = Elements(page_of([*soft_and_dense(), *other], tmp_path)).texts
        assert "dense − soft" in texts
        assert "other − dense" in texts

    def test_it_loads_nothing(self, tmp_path):
        text = page_of(soft_and_dense(), tmp_path)
        for tag, attributes in Elements(text).tags:
            assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form", "a")
            assert not attributes.keys() & {"src", "href", "srcset", "style"}
            assert not any(name.startswith("on") for name in attributes)
        assert "url(" not in text
        assert "@import" not in text

    def test_its_policy_forbids_connections_and_foreign_scripts(self, tmp_path):
        text = page_of(soft_and_dense(), tmp_path)
        policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        assert "unsafe" not in policy
        assert "connect-src" not in policy

    def test_the_same_results_give_the_same_bytes(self, tmp_path):
        first = page_of(soft_and_dense(), tmp_path, "a.html")
        assert page_of(soft_and_dense(), tmp_path, "b.html") == first

    def test_records_in_memory_give_the_page_of_their_file(self, tmp_path):
        path = write_results(tmp_path / "r.jsonl", soft_and_dense())
        from_file = page_of(path, tmp_path, "file.html")
        from_memory = page_of(soft_and_dense(), tmp_path, "memory.html")
        name = "<dt>results files</dt><dd>r.jsonl</dd>"
        assert from_file.replace(name, "") == from_memory

    def test_one_student_makes_a_page_too(self, tmp_path):
        texts = Elements(page_of(students([50]), tmp_path)).texts
        assert any("1 student has no interval" in text for text in texts)
        assert "Paired comparisons" not in texts

    def test_two_names_that_cross_have_a_table_of_their_own(self, tmp_path):
        groups = [
            students(SOFT, loss=loss, optimizer=optimizer)
            for loss in ("ce", "kl")
            for optimizer in ("sgd", "adam")
        ]
        records = [record for group in groups for record in group]
        assert "loss \\ optimizer" in Elements(page_of(records, tmp_path)).texts
        assert "loss \\ optimizer" not in page_of(records[:10], tmp_path, "one.html")

    def test_many_rows_are_compared_with_the_first(self, tmp_path):
        records = [each for epochs in range(1, 11) for each in students(SOFT, epochs=epochs)]
        written = ddlabel.report(records, out=tmp_path / "r.html")
        assert written["pairs"] == 9
        some = ddlabel.report(records, out=tmp_path / "s.html", baseline="epochs=3")
        assert some["pairs"] == 9
        assert "points above 3" in Elements((tmp_path / "s.html").read_text()).texts


CONFUSION = {"confusion": [[6, 4], [1, 9]]}
CURVE = {"loss": [2.0, 1.0], "gradient_norm": [3.0, 1.0]}


class TestDiagnostics:
    def test_a_page_of_records_without_them_has_no_such_section(self, tmp_path):
        texts = Elements(page_of(soft_and_dense(), tmp_path)).texts
        assert not {"Curves", "Confusion", "Reliability"} & set(texts)

    def test_curves_name_the_rows_that_have_them(self, tmp_path):
        dense = students(DENSE, bundle="dense.h5", labels="dense", result={"curve": CURVE})
        checked = CURVE | {"checked_epochs": [2], "test_accuracy": [0.5]}
        soft = students(SOFT, result={"curve": checked})
        texts = Elements(page_of([*soft, *dense, *students(SOFT, loss="kl")], tmp_path)).texts
        assert {"training loss", "gradient norm", "test accuracy, %"} <= set(texts)
        assert "right labels of the teacher, %" not in texts

    def test_confusions_are_summed_over_the_students_of_a_row_and_the_largest_named(self, tmp_path):
        records = [*students(SOFT, result=CONFUSION), *students(DENSE, bundle="b.h5")]
        texts = Elements(page_of(records, tmp_path)).texts
        place = texts.index("% of the true class")
        cells = [text for text in texts[place + 1 :] if text.strip()]
        # 4 of 10 images of class 0 are taken for class 1, by each of 5 students.
        assert cells[1:11] == ["soft", "0", "1", "40.0", "20", "soft", "1", "0", "10.0", "5"]

    @pytest.mark.parametrize(
        "result",
        [{"curve": 3}, {"curve": {"loss": "x"}}, {"confusion": [1]}, {"reliability": [["x"]]}],
    )
    def test_a_record_of_another_form_is_left_out_with_a_note(self, tmp_path, result):
        listener = Listener()
        records = [*students(SOFT, result=result), *students(DENSE, bundle="dense.h5")]
        ddlabel.report(records, out=tmp_path / "r.html", reporter=listener)
        assert any("left out of a chart" in line for line in listener.notes)


class TestHostileNames:
    def records(self) -> list[Record]:
        """Students whose every text is hostile."""
        changed = []
        for record in soft_and_dense():
            origin = {"name": HOSTILE, "images": 20, "classes": 10, "made_by": [HOSTILE]}
            changed.append(
                replace(
                    record,
                    version=HOSTILE,
                    role=HOSTILE,
                    options=record.options | {"loss": HOSTILE, HOSTILE: HOSTILE},
                    cost={"device": HOSTILE, "seconds": 1},
                    origins={"bundle": origin, "test": {"name": HOSTILE}},
                )
            )
        return changed

    def test_they_are_text_on_the_page(self, tmp_path):
        plain = Elements(page_of(soft_and_dense(), tmp_path, "plain.html"))
        path = write_results(tmp_path / f"{HOSTILE.replace('/', '')[:60]}.jsonl", self.records())
        ddlabel.report(path, out=tmp_path / "r.html")
        text = (tmp_path / "r.html").read_text()
        page = Elements(text)
        assert {tag for tag, _ in page.tags} == {tag for tag, _ in plain.tags}
        assert text.count("<script>") == 1
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert any("</script><script>alert(1)" in each for each in page.texts)

    @pytest.mark.parametrize("suffix", [".md", ".tex", ".csv"])
    def test_they_are_text_in_the_other_forms(self, tmp_path, suffix):
        text = page_of(self.records(), tmp_path, f"r{suffix}")
        assert "\x1b" not in text
        if suffix == ".md":
            prose = [line for line in text.splitlines() if not line.startswith("    ")]
            assert not re.search(r"(?<!\\)<", "\n".join(prose))

    def test_elements_escape_texts_and_attributes(self):
        made = element("td", "<b>&", Markup("<i></i>"), title='"><x', data_value=1.5, class_="a")
        assert made == (
            '<td title="&quot;&gt;&lt;x" data-value="1.5" class="a">&lt;b&gt;&amp;<i></i></td>'
        )


class TestFiles:
    def test_the_suffix_names_the_form(self, tmp_path):
        assert page_of(soft_and_dense(), tmp_path, "r.md").startswith("# Results of students")
        assert "\\begin{tabular}" in page_of(soft_and_dense(), tmp_path, "r.tex")
        lines = page_of(soft_and_dense(), tmp_path, "r.csv").splitlines()
        assert lines[0] == "bundle,labels,seed,accuracy,top5,calibration_error"
        assert lines[1] == "soft,soft,0,0.431,,"
        assert len(lines) == 11

    def test_an_existing_file_is_kept(self, tmp_path):
        out = tmp_path / "r.html"
        out.write_text("mine")
        with pytest.raises(OutputExistsError):
            ddlabel.report(soft_and_dense(), out=out)
        assert out.read_text() == "mine"
        ddlabel.report(soft_and_dense(), out=out, force=True)
        assert out.read_text().startswith("<!DOCTYPE html>")

    def test_a_form_that_does_not_fit_the_suffix_is_refused(self, tmp_path):
        with pytest.raises(UsageError, match="--format md"):
            ddlabel.report(soft_and_dense(), out=tmp_path / "r.html", format="md")

    def test_the_command_line_prints_the_path(self, cli):
        write_results("r.jsonl", soft_and_dense())
        assert cli("report", "r.jsonl").out == b"report.html\n"
        assert cli("report", "r.jsonl", "--format", "csv").out == b"report.csv\n"
        assert b"r.jsonl" in Path("report.html").read_bytes()
