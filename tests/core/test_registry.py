"""Registries and spec strings."""

from __future__ import annotations

import inspect
import string
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddlabel.core.errors import UsageError
from ddlabel.core.registry import (
    Registry,
    as_usage_error,
    nearest,
    parse_spec,
    split_specs,
    with_options_of,
)

WORDS = st.text(alphabet=string.ascii_lowercase + "-", min_size=1)
VALUES = st.text(alphabet=string.ascii_letters + string.digits + "./-", min_size=1)
SPECS = st.tuples(WORDS, st.dictionaries(WORDS, VALUES, max_size=4))


def written(name: str, options: dict[str, str]) -> str:
    """A spec string, as the documentation describes it."""
    settings = ",".join(f"{key}={value}" for key, value in options.items())
    return f"{name}:{settings}" if settings else name


@pytest.fixture
def recipes() -> Registry:
    """A registry with one function that has an option of every type."""
    registry = Registry("recipe")

    @registry.add
    def slow_cook(
        dish: str,
        *,
        guests: int,
        hours: float = 1.0,
        lid: bool = True,
        salt: int | None = None,
        heat: Literal["low", "high"] = "low",
        steps: tuple[float, ...] = (0.5, 0.8),
        class_: str = "soup",
    ) -> None:
        """Cook.

        Slowly.
        """

    @registry.add
    def raw() -> None:
        """Do nothing."""

    return registry


class TestNearest:
    def test_names_the_word_that_is_close(self):
        assert "'cosine'" in nearest("cosin", ["kl", "cosine"])

    def test_lists_all_words_if_none_is_close(self):
        hint = nearest("zzz", ["kl", "cosine"])
        assert "kl" in hint
        assert "cosine" in hint


class TestAdd:
    def test_name_is_the_functions_with_dashes(self, recipes):
        assert list(recipes) == ["slow-cook", "raw"]

    def test_underscores_around_a_name_are_dropped(self):
        registry = Registry("thing")

        @registry.add
        def _none_() -> None: ...

        assert list(registry) == ["none"]

    def test_a_name_is_registered_once(self, recipes):
        with pytest.raises(ValueError, match="slow-cook"):
            recipes.named("slow-cook")(lambda: None)

    def test_function_is_returned_unchanged(self):
        def function() -> None: ...

        assert Registry("thing").add(function) is function


class TestResolve:
    @pytest.mark.parametrize(
        ("option", "name", "value"),
        [
            ("hours=2", "hours", 2.0),
            ("hours=5e-4", "hours", 5e-4),
            ("lid=FALSE", "lid", False),
            ("salt=3", "salt", 3),
            ("salt=none", "salt", None),
            ("heat=high", "heat", "high"),
            ("steps=0.5/0.75/1", "steps", (0.5, 0.75, 1.0)),
            ("class=stew", "class_", "stew"),
        ],
    )
    def test_option_is_read_as_its_type(self, recipes, option, name, value):
        settings = recipes.resolve(f"slow-cook:{option}").keywords
        assert settings == {name: value}
        assert type(settings[name]) is type(value)

    def test_without_options_the_defaults_apply(self, recipes):
        assert recipes.resolve("slow-cook").keywords == {}

    @pytest.mark.parametrize(
        ("spec", "named"),
        [
            ("slow-cok", "slow-cook"),
            ("slow-cook:hour=2", "hours"),
            ("slow-cook:hours=many", "many"),
            ("slow-cook:hours=nan", "hours"),
            ("slow-cook:hours=inf", "hours"),
            ("slow-cook:salt=1.5", "salt"),
            ("slow-cook:lid=1", "lid"),
            ("slow-cook:heat=medium", "low, high"),
            ("slow-cook:steps=0.5/x", "steps"),
            ("slow-cook:hours", "hours"),
            ("slow-cook:=2", "=2"),
            ("slow-cook:hours=1,hours=2", "hours=2"),
            ("slow-cook:dish=soup", "dish"),
            ("raw:hours=1", "hours"),
        ],
    )
    def test_unusable_spec_is_refused_and_the_message_names_its_part(self, recipes, spec, named):
        with pytest.raises(UsageError, match=named):
            recipes.resolve(spec)

    def test_argument_without_default_is_for_callers_only(self, recipes):
        with pytest.raises(UsageError, match="guests"):
            recipes.resolve("slow-cook:guests=3")


class TestEntries:
    def test_entry_has_defaults_and_first_line_of_the_docstring(self, recipes):
        first, second = recipes.entries()
        assert first.options == {
            "hours": 1.0,
            "lid": True,
            "salt": None,
            "heat": "low",
            "steps": (0.5, 0.8),
            "class": "soup",
        }
        assert (first.name, first.summary) == ("slow-cook", "Cook.")
        assert (second.name, second.options) == ("raw", {})


class TestWithOptionsOf:
    def test_options_are_accepted_and_passed_on(self):
        registry = Registry("thing")

        def shared(*, size: int = 1, colour: str = "red") -> str:
            return f"{size} {colour}"

        @registry.add
        @with_options_of(shared)
        def outer(*, colour: str = "blue", **options: int) -> str:
            return shared(colour=colour, **options)

        assert registry.resolve("outer:size=3")() == "3 blue"

    def test_own_option_takes_precedence_over_the_shared_one(self):
        def shared(*, colour: str = "red") -> None: ...

        @with_options_of(shared)
        def outer(*, colour: str = "blue", **options: str) -> None: ...

        parameters = inspect.signature(outer).parameters
        assert list(parameters) == ["colour"]
        assert parameters["colour"].default == "blue"


class TestAsUsageError:
    @pytest.mark.parametrize("kind", [ValueError, RuntimeError, ZeroDivisionError])
    def test_error_of_the_block_becomes_one_line_after_the_prefix(self, kind):
        with (
            pytest.raises(UsageError, match=r"^optimizer 'sgd': bad value$"),
            as_usage_error("optimizer 'sgd'"),
        ):
            raise kind("bad value\nand more")

    def test_error_without_a_message_is_named(self):
        with pytest.raises(UsageError, match="ValueError"), as_usage_error("optimizer 'sgd'"):
            raise ValueError

    def test_bugs_are_not_hidden(self):
        with pytest.raises(KeyError), as_usage_error("optimizer 'sgd'"):
            raise KeyError("x")


class TestParseSpec:
    def test_spaces_do_not_count(self):
        assert parse_spec(" sgd:lr=0.1, momentum = 0 ") == ("sgd", {"lr": "0.1", "momentum": "0"})

    @given(SPECS)
    def test_name_and_options_are_read_back_in_their_order(self, spec):
        name, options = spec
        parsed_name, parsed = parse_spec(written(name, options))
        assert parsed_name == name
        assert list(parsed.items()) == list(options.items())


class TestSplitSpecs:
    def test_comma_before_an_option_belongs_to_the_spec_before_it(self):
        assert split_specs("sgd:lr=0.1,momentum=0.9,adam") == ["sgd:lr=0.1,momentum=0.9", "adam"]

    def test_spaces_and_empty_parts_are_dropped(self):
        assert split_specs(" kl , ,cosine,") == ["kl", "cosine"]

    @given(st.lists(SPECS, min_size=1, max_size=4))
    def test_specs_joined_by_commas_are_split_again(self, specs):
        texts = [written(name, options) for name, options in specs]
        assert split_specs(",".join(texts)) == texts
