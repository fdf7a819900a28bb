"""Properties of everything that is read as text: specs, configurations, headers and results."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from format_samples import small
from hypothesis import given, settings
from hypothesis import strategies as st
from record_samples import cell, student

from ddlabel.cli.flags import toml_lines
from ddlabel.core.config import EditOptions, EvaluateOptions
from ddlabel.core.config_file import read_options
from ddlabel.core.errors import InvalidInputError, UsageError
from ddlabel.core.registry import Registry, parse_spec, split_specs
from ddlabel.data.provenance import Entry
from ddlabel.data.record import Record
from ddlabel.data.results import read_records
from ddlabel.data.schema import Header, Pixels

FEW = settings(deadline=None, max_examples=50)
# Text that UTF-8 can hold: what is read from files and terminals.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NUMBERS = st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
PLAIN = st.none() | st.booleans() | NUMBERS | TEXTS
NESTED = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(TEXTS, NESTED, max_size=3)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("properties") / "file"


def refusal(read: Callable[[], object]) -> str:
    """The message with which our code refuses an input; empty if it does not."""
    try:
        read()
    except (InvalidInputError, UsageError) as error:
        return str(error)
    return ""


class TestSpecs:
    recipes = Registry("recipe")

    @staticmethod
    @recipes.add
    def cook(*, hours: float = 1.0, guests: int = 2, lid: bool = True, salt: int | None = None):
        """Cook."""

    # Half of them have the form of a spec.
    texts = TEXTS | st.builds(
        "cook:{}={},{}".format, st.sampled_from(["hours", "guests", "lid", "salt"]), TEXTS, TEXTS
    )

    @FEW
    @given(text=texts)
    def test_any_text_is_a_spec_or_one_line_of_refusal(self, text):
        assert "\n" not in refusal(lambda: self.recipes.resolve(text))

    @FEW
    @given(text=TEXTS)
    def test_no_part_of_a_list_is_lost_when_it_is_split(self, text):
        parts = [part.strip() for part in text.split(",") if part.strip()]
        assert ",".join(split_specs(text)) == ",".join(parts)

    @FEW
    @given(
        name=st.text("abc-", min_size=1),
        value=TEXTS.filter(lambda text: text.strip() == text != "" and "," not in text),
    )
    def test_a_value_may_have_any_sign_but_a_comma(self, name, value):
        assert parse_spec(f"{name}:key={value}") == (name, {"key": value})


VALUES = NUMBERS | TEXTS | st.lists(TEXTS, max_size=2)


class TestConfigurations:
    kinds: ClassVar = {"loss": (str, list), "epochs": int, "zca": bool, "ema": float, "op": list}
    types: ClassVar = {
        "loss": str,
        "epochs": int,
        "zca": bool,
        "ema": float | None,
        "op": tuple[str, ...],
    }

    def read(self, file: Path) -> dict[str, Any]:
        return read_options(file, "evaluate", self.types, ("loss",))

    @FEW
    @given(content=st.binary(max_size=30) | TEXTS.map(str.encode))
    def test_any_bytes_are_read_or_refused_on_one_line(self, file, content):
        file.write_bytes(content)
        said = refusal(lambda: self.read(file))
        assert said == "" or said.startswith(str(file))
        assert "\n" not in said

    @FEW
    @given(
        name=st.sampled_from(["loss", "epochs", "zca", "ema", "op"]),
        value=NUMBERS | TEXTS | st.lists(TEXTS, max_size=2),
    )
    def test_a_value_has_the_type_of_its_option_or_is_refused(self, file, name, value):
        text = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        file.write_text(f"{name} = {text}", encoding="utf-8")
        said = refusal(lambda: self.read(file))
        if said:
            assert said.startswith(f"{file}: {name}")
        else:
            assert isinstance(self.read(file)[name], self.kinds[name])

    @FEW
    @given(names=TEXTS.filter(bool), number=st.floats(1e-300, 0.9))
    def test_what_print_config_writes_is_read_back(self, names, number):
        """Also the characters that JSON and TOML write in different ways."""
        lines = toml_lines("edit", [EditOptions(class_names=names)])
        read = tomllib.loads("\n".join(lines))
        # A terminal of ASCII shows them as they are.
        assert all(line.isascii() for line in lines)
        assert read["edit"]["class-names"] == names
        read = tomllib.loads("\n".join(toml_lines("evaluate", [EvaluateOptions(ema=number)])))
        assert read["evaluate"]["ema"] == number


ENTRIES = st.builds(Entry, command=TEXTS, version=TEXTS, options=OBJECTS, bundle=TEXTS)


class TestHeaders:
    @FEW
    @given(
        classes=st.lists(TEXTS, min_size=2, max_size=2, unique=True),
        mean=st.floats(allow_nan=False, allow_infinity=False),
        std=st.floats(min_value=0, exclude_min=True, allow_infinity=False),
        history=st.lists(ENTRIES, max_size=2),
    )
    def test_a_header_is_read_back_from_its_own_text_and_from_no_other(
        self, classes, mean, std, history
    ):
        header = replace(
            small().header(),
            classes=tuple(classes),
            pixels=Pixels(space="uint8", mean=(mean,), std=(std,)),
            history=tuple(history),
        )
        text = header.to_json()
        assert Header.from_json(text) == header
        for other in (json.dumps(json.loads(text)), f"{text} ", text.replace("arrays", "array")):
            with pytest.raises(InvalidInputError):
                Header.from_json(other)

    @FEW
    @given(text=TEXTS | NESTED.map(json.dumps))
    def test_any_text_is_no_header(self, text):
        with pytest.raises(InvalidInputError):
            Header.from_json(text)


class TestResults:
    @FEW
    @given(options=OBJECTS, cost=OBJECTS, result=NESTED, accuracy=st.floats(0, 1))
    def test_a_record_is_read_back_from_its_line(self, options, cost, result, accuracy):
        for record in (
            cell(options=options, cost=cost, result=result),
            student(options=options, cost=cost, result={"accuracy": accuracy, "more": result}),
        ):
            line = record.to_json()
            assert "\n" not in line
            assert Record.from_json(line) == record

    @FEW
    @given(
        lines=st.lists(st.binary(max_size=40).filter(lambda line: b"\n" not in line), max_size=4)
    )
    def test_lines_of_any_bytes_between_records_cost_no_record(self, file, lines):
        whole = [student(seed).to_json().encode() for seed in range(len(lines) + 1)]
        pairs = zip(whole, [*lines, b""], strict=True)
        file.write_bytes(b"\n".join(part for pair in pairs for part in pair))
        notes: list[str] = []
        assert len(read_records(file, notes.append)) == len(whole)
        assert all("\n" not in note for note in notes)

    def test_numbers_that_json_lacks_are_no_record(self):
        for number in (math.nan, math.inf):
            with pytest.raises(ValueError, match="JSON"):
                cell(result=number).to_json()
