"""The types of options in Python calls. Those in TOML files are in test_config_file.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from ddlabel.core.config import EvaluateOptions, RelabelOptions, TrainExpertOptions
from ddlabel.core.errors import UsageError
from ddlabel.core.values import from_python, from_text


def convert(value, annotation, *, is_list=False, may_be_object=False):
    return from_python("x", value, annotation, is_list=is_list, may_be_object=may_be_object)


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        (3, int, 3),
        (3, float, 3.0),
        (0.5, float | None, 0.5),
        (True, bool, True),
        ("auto", float | str, "auto"),
        ("ce", str, "ce"),
        (12, str, "12"),
        (0.25, str, "0.25"),
        (0.123456789, str, "0.123456789"),
        (12.0, str, "12"),
        (Path("a") / "b", str | None, str(Path("a") / "b")),
        ("run", tuple[str, ...], ["run"]),
        ([Path("a"), "b"], tuple[str, ...], ["a", "b"]),
        (("a", "b"), tuple[str, ...], ["a", "b"]),
    ],
)
def test_value_becomes_the_type_of_its_option(value, annotation, expected):
    converted = convert(value, annotation)
    assert converted == expected
    assert type(converted) is type(expected)


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        ("3", int),
        (True, int),
        (1.5, int),
        (1, bool),
        (True, str),
        (object(), str),
        ([1, 2], int),
        (["a", "b"], str),
        ([True], tuple[str, ...]),
    ],
)
def test_value_of_another_type_is_refused(value, annotation):
    with pytest.raises(UsageError, match="x"):
        convert(value, annotation)


def test_axis_accepts_a_list():
    assert convert(["ce", "kl"], str, is_list=True) == ["ce", "kl"]


def test_object_in_place_of_a_file_is_returned_as_it_is():
    bundle, run = object(), object()
    assert convert(bundle, str | None, may_be_object=True) is bundle
    assert convert([run, Path("b")], tuple[str, ...], may_be_object=True) == [run, "b"]
    assert convert(run, tuple[str, ...], may_be_object=True) == [run]


def test_one_object_of_several_is_returned_as_a_list():
    run = object()
    assert convert(run, tuple[str, ...], may_be_object=True) == [run]


def test_number_is_never_an_object():
    with pytest.raises(UsageError, match="x"):
        convert(object(), int, may_be_object=True)


class TestOptionsFromPython:
    def test_none_is_not_given(self):
        assert EvaluateOptions.from_python({"loss": None, "epochs": 3}) == {"epochs": 3}

    def test_axes_may_be_lists(self):
        given = EvaluateOptions.from_python({"loss": ["ce", "kl"], "net": "mlp"})
        grid = EvaluateOptions.load("evaluate", None, given)
        assert [options.loss for options in grid] == ["ce", "kl"]

    def test_option_that_names_a_file_may_be_an_object(self):
        bundle = object()
        given = RelabelOptions.from_python({"real": bundle, "expert": "run"})
        (options,) = RelabelOptions.load("relabel", None, given)
        assert options.real is bundle
        assert options.expert == ("run",)

    def test_option_that_decides_the_outcome_may_not(self):
        with pytest.raises(UsageError, match="net"):
            TrainExpertOptions.from_python({"net": object()})

    def test_unknown_option_is_refused_with_the_nearest_name(self):
        with pytest.raises(UsageError, match="'loss'"):
            EvaluateOptions.from_python({"los": "ce"})


@pytest.mark.parametrize(
    ("text", "annotation", "expected"),
    [
        ("3", int, 3),
        ("3", int | None, 3),
        ("0.5", float, 0.5),
        ("1e-3", float | None, 0.001),
        ("auto", float | str, "auto"),
        ("12", str | None, "12"),
        ("12", tuple[str, ...], "12"),
    ],
)
def test_text_of_a_flag_becomes_the_type_of_its_option(text, annotation, expected):
    assert from_text(text, annotation, "--x") == expected


@pytest.mark.parametrize(
    ("text", "annotation", "wanted"),
    [("3.5", int, "a whole number"), ("", int, "a whole number"), ("x", float | None, "a number")],
)
def test_text_of_a_flag_that_is_no_number_is_refused(text, annotation, wanted):
    with pytest.raises(UsageError, match=f"--x is '{text}': expected {wanted}"):
        from_text(text, annotation, "--x")
