"""`show` from Python: what it draws, the files, and what it refuses."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from experts import train_small_expert
from figure_tables import column, read_csv
from listener import Listener
from PIL import Image
from samples import make_bundle
from view_samples import grid_bundle

from ddlabel.commands.checkpoints import pick_checkpoints
from ddlabel.commands.execute import run_command
from ddlabel.commands.labeling import label_images
from ddlabel.commands.show import show
from ddlabel.core.config import RelabelOptions
from ddlabel.core.errors import IncompatibleError, InvalidInputError, OutputExistsError, UsageError
from ddlabel.data import formats
from ddlabel.data.early_stopping import early_stop
from ddlabel.figures import figures
from ddlabel.figures.registry import KINDS, Table, kind_of, names_of

pytest.importorskip("matplotlib")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    real = make_bundle(images=30)
    return train_small_expert(real, tmp_path_factory.mktemp("runs") / "expert", epochs=3)


def specs(pictures) -> list[str]:
    return [picture.spec for picture in pictures]


def test_without_a_folder_it_writes_nothing_and_returns_figure_and_table(folder):
    (picture,) = show(make_bundle(), figure=["entropy"])
    assert list(folder.iterdir()) == []
    assert picture.png().startswith(b"\x89PNG")
    assert sum(column(picture.drawing.table, "soft")) == 12
    assert picture.drawing.figure.get_size_inches()[0] == pytest.approx(3.3)


def test_every_figure_is_png_svg_and_csv(folder):
    pictures = show(grid_bundle(), "out")
    names = ["contact-sheet", "class-similarity", "entropy", "views"]
    assert specs(pictures) == names
    expected = {f"{name}.{suffix}" for name in names for suffix in ("png", "svg", "csv")}
    assert {path.name for path in Path("out").iterdir()} == expected
    for picture in pictures:
        png, svg, table = picture.files
        with Image.open(png) as opened:
            # 3.3 inches at 300 dots.
            assert opened.width == 990
        assert ElementTree.parse(svg).getroot().tag.endswith("svg")
        rows = read_csv(table.read_bytes())
        assert rows[0] == list(picture.drawing.table.columns)
        assert len(rows) == 1 + len(picture.drawing.table.rows)


def test_the_same_input_gives_the_same_bytes():
    for out in ("one", "two"):
        show(grid_bundle(), out, figure=["contact-sheet:count=2", "class-similarity"])
    for path in Path("one").iterdir():
        assert path.read_bytes() == (Path("two") / path.name).read_bytes(), path.name


def test_figures_that_do_not_suit_are_left_out_unless_they_are_named():
    listener = Listener()
    hard = replace(make_bundle(), soft=None)
    assert specs(show(hard, reporter=listener)) == ["contact-sheet"]
    assert [note.split(" is left out")[0] for note in listener.notes] == [
        "class-similarity",
        "entropy",
        "views",
    ]
    with pytest.raises(IncompatibleError, match="ddlabel relabel"):
        show(hard, figure=["entropy"])


def test_an_expert_run_shows_its_curve_and_the_epochs_of_early_stopping(run):
    (picture,) = show(run)
    table = picture.drawing.table
    records = run.metrics()
    assert column(table, "epoch") == [1, 2, 3]
    assert column(table, "train_accuracy") == [record["train_accuracy"] for record in records]
    chosen = column(table, "chosen_for_ipc")
    for budget in (1, 10, 50):
        place = int(run.epoch_of(early_stop(run, budget).step)) - 1
        assert str(budget) in chosen[place].split()
    assert specs(show(str(run.folder))) == ["expert-curve"]


def test_a_label_over_epochs_is_what_the_checkpoints_say(run):
    bundle = make_bundle(images=5, seed=4)
    (picture,) = show(bundle, expert=str(run.folder), figure=["label-epochs:image=3"])
    table = picture.drawing.table
    assert column(table, "epoch") == [1, 2, 3]
    for epoch, row in zip((1, 2, 3), table.rows, strict=True):
        checkpoints = pick_checkpoints(bundle, [run], str(epoch))
        labelled = label_images(bundle, checkpoints, RelabelOptions())
        np.testing.assert_allclose(row[1:], labelled.labels("soft").probs()[3], rtol=1e-5)


def test_files_that_exist_are_kept_unless_forced():
    show(make_bundle(), "out", figure=["entropy"])
    before = Path("out/entropy.csv").read_bytes()
    other = make_bundle(images=6)
    with pytest.raises(OutputExistsError, match=r"entropy\.png"):
        show(other, "out", figure=["entropy"])
    assert Path("out/entropy.csv").read_bytes() == before
    show(other, "out", force=True, figure=["entropy"])
    assert Path("out/entropy.csv").read_bytes() != before


def test_without_matplotlib_it_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"pip install 'ddlabel\[plots\]'"):
        show(make_bundle())


def test_it_leaves_the_settings_of_matplotlib_as_they_were():
    import matplotlib

    before = dict(matplotlib.rcParams)
    show(make_bundle(), "out", figure=["entropy"])
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    "names",
    [
        ("a\nb\x1b[2J", "x" * 5000, "\u202e$\\frac{1}{0}$"),
        ("<script>alert(1)</script>", "&amp;", "]]>"),
        ("=1+1", "日本語", ""),
    ],
)
def test_hostile_class_names_are_drawn_as_text(names):
    bundle = replace(grid_bundle(), classes=names)
    show(bundle, "out")
    for path in Path("out").glob("*.svg"):
        text = path.read_text(encoding="utf-8")
        ElementTree.fromstring(text)
        assert "<script>" not in text
        assert "\x1b" not in text
        assert len(text) < 400_000


def test_a_csv_file_runs_no_formula_and_keeps_every_name():
    table = Table(columns=["name", "value"], rows=[["=1+1", 2], ["a,b\n", None], ["−1", -1.5]])
    assert read_csv(table.to_csv()) == [
        ["name", "value"],
        ["'=1+1", "2"],
        ["a,b\n", ""],
        ["−1", "-1.5"],
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_every_figure_says_in_one_line_what_it_shows(kind):
    for name in names_of(kind):
        assert kind_of(name) == kind
        assert figures[name].__doc__.splitlines()[0].endswith(".")


class TestWrongInputs:
    def test_of_another_kind_are_told_what_they_can_show(self, run):
        with pytest.raises(UsageError, match="--figure expert-curve draws an expert run, and this"):
            show(make_bundle(), figure=["expert-curve"])
        with pytest.raises(UsageError, match="this is an expert run: choose one of expert-curve"):
            show(run, figure=["entropy"])

    def test_a_figure_that_needs_an_expert_says_so(self):
        with pytest.raises(UsageError, match="--expert RUN"):
            show(make_bundle(), figure=["label-epochs"])

    def test_an_expert_that_nothing_uses_is_refused(self, run):
        with pytest.raises(UsageError, match="--figure label-epochs"):
            show(make_bundle(), figure=["entropy"], expert=str(run.folder))
        with pytest.raises(UsageError, match="only used with a bundle"):
            show(run, expert=str(run.folder))

    @pytest.mark.parametrize("spec", ["contact-shet", "entropy:bins=3", "views:image=99"])
    def test_specs_are_checked(self, spec):
        with pytest.raises(UsageError):
            show(grid_bundle(), figure=[spec])

    def test_files_of_other_kinds_are_refused(self):
        Path("a.txt").write_text("hello")
        with pytest.raises(InvalidInputError, match=r"a\.txt: expected a bundle"):
            show("a.txt")
        with pytest.raises(InvalidInputError, match="nowhere"):
            show("nowhere")
        with pytest.raises(UsageError, match="type int"):
            show(7)

    def test_of_several_expert_runs_one_is_to_be_named(self, run):
        Path("both").mkdir()
        for name in ("a", "b"):
            (Path("both") / name).symlink_to(run.folder)
        with pytest.raises(UsageError, match=r"has 2 expert runs \(a, b\): name one of them"):
            show("both")

    def test_an_output_that_is_a_file_is_refused(self):
        Path("out").write_text("hello")
        with pytest.raises(OutputExistsError, match="out is a file"):
            show(make_bundle(), "out")


def test_as_json_it_has_files_and_numbers():
    formats.write("a.h5", make_bundle(images=6))
    given = {"subject": "a.h5", "out": "out", "figure": ["entropy"]}
    (value,) = json.loads(json.dumps(run_command("show", given)))
    assert value["files"] == ["out/entropy.png", "out/entropy.svg", "out/entropy.csv"]
    assert value["columns"] == ["from_nats", "to_nats", "soft"]
    assert sum(row[2] for row in value["rows"]) == 6
