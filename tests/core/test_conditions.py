"""Which options go together."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from ddlabel.core.errors import UsageError
from ddlabel.core.option import option
from ddlabel.core.options import Options


@dataclass(frozen=True, kw_only=True)
class Trip(Options):
    """A trip, with an option for every kind of condition."""

    AXES = ("place",)

    by: str = option("foot", "how to travel", choices=("foot", "car", "bike"), not_with="cargo")
    fuel: str = option("petrol", "what the car burns", only_with="by=car")
    wheels: int = option(2, "number of wheels", only_with="by=car|bike")
    cargo: str | None = option(None, "what to carry", not_with=("place=sea", "crew"))
    crew: tuple[str, ...] = option((), "who comes along")
    captain: str | None = option(None, "who leads", only_with=("crew", "by=car"))
    place: str = option("auto", "where to go", needs={"moon": ("rocket", "by=bike")})
    depth: int = option(1, "how deep to dive", only_with="place=sea")
    rocket: bool = option(default=False, help="take the rocket")
    start: str | None = option(None, "where to begin", argument="START", only_with="end")
    end: str | None = option(None, "where to end", only_with="start")


@dataclass(frozen=True, kw_only=True)
class Walk(Options):
    """A walk, which cannot be combined with a flag."""

    by: str = option("hiking", "how to walk", not_with="rocket")
    rocket: bool = option(default=False, help="take the rocket")


def check(objects=(), **options):
    Trip(**options).check_together(objects=objects)


class TestOnlyWith:
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"fuel": "diesel", "by": "car"},
            {"wheels": 3, "by": "bike"},
            {"captain": "Ann", "crew": ("Ann",)},
            {"captain": "Ann", "by": "car"},
            {"start": "A", "end": "B"},
        ],
    )
    def test_option_whose_condition_is_met_is_accepted(self, options):
        check(**options)

    @pytest.mark.parametrize(
        ("options", "flags"),
        [
            ({"fuel": "diesel"}, ["--fuel", "--by car", "--by foot"]),
            ({"fuel": "diesel", "by": "bike"}, ["--fuel", "--by car", "--by bike"]),
            ({"wheels": 3}, ["--wheels", "--by car or bike"]),
            ({"captain": "Ann"}, ["--captain", "--crew or --by car"]),
            ({"start": "A"}, ["START", "--end"]),
            ({"end": "B"}, ["--end", "START"]),
        ],
    )
    def test_option_without_effect_is_refused_and_both_flags_are_named(self, options, flags):
        with pytest.raises(UsageError) as refused:
            check(**options)
        assert [flag for flag in flags if flag not in str(refused.value)] == []

    def test_default_value_does_not_count_as_given(self):
        check(fuel="petrol", wheels=2, depth=1)

    def test_object_beside_the_config_counts_as_given(self):
        check(captain="Ann", objects=("crew",))

    def test_object_beside_the_config_is_checked_itself(self):
        with pytest.raises(UsageError, match="START"):
            check(objects=("start",))


class TestNotWith:
    def test_option_alone_is_accepted(self):
        check(cargo="salt")

    @pytest.mark.parametrize(
        "options",
        [
            {"cargo": "salt", "place": "sea"},
            {"cargo": "salt", "crew": ("Ann", "Bob")},
            {"cargo": "salt", "by": "car"},
        ],
    )
    def test_combination_is_refused(self, options):
        with pytest.raises(UsageError, match="--cargo salt"):
            check(**options)

    def test_object_beside_the_config_is_named_without_a_value(self):
        with pytest.raises(UsageError, match="--cargo salt cannot be combined with --crew:"):
            check(cargo="salt", objects=("crew",))

    def test_object_in_the_config_is_named_without_its_value(self):
        with pytest.raises(UsageError, match="--cargo salt cannot be combined with --crew:"):
            check(cargo="salt", crew=(object(),))

    def test_flag_is_named_without_a_value(self):
        with pytest.raises(UsageError, match="--rocket: leave"):
            Walk(by="foot", rocket=True).check_together()

    def test_several_values_are_named_as_words(self):
        with pytest.raises(UsageError, match="--crew Ann Bob"):
            check(cargo="salt", crew=("Ann", "Bob"))


class TestNeeds:
    def test_value_without_what_it_needs_is_refused(self):
        with pytest.raises(UsageError, match=r"--place moon needs --rocket or --by bike"):
            check(place="moon")

    def test_value_with_what_it_needs_is_accepted(self):
        check(place="moon", rocket=True)
        check(place="moon", by="bike")

    def test_other_value_needs_nothing(self):
        check(place="sea")


class TestAuto:
    def test_condition_on_a_value_that_is_still_auto_is_left_open(self):
        check(depth=3)
        check(cargo="salt")

    def test_condition_is_checked_once_the_value_is_settled(self):
        check(depth=3, place="sea")
        with pytest.raises(UsageError, match="--depth"):
            check(depth=3, place="city")

    def test_only_conditions_about_the_settled_option_are_checked_again(self):
        Trip(place="city", fuel="diesel").check_together(about="place")
        with pytest.raises(UsageError, match="--depth"):
            Trip(place="city", depth=3).check_together(about="place")
        with pytest.raises(UsageError, match="--place"):
            Trip(place="moon").check_together(about="place")


class TestPreset:
    def test_value_of_the_protocol_does_not_count_as_given(self):
        Trip(fuel="diesel").check_together(preset={"fuel": "diesel"})

    def test_value_over_the_protocols_does(self):
        with pytest.raises(UsageError, match="--fuel"):
            Trip(fuel="gas").check_together(preset={"fuel": "diesel"})


class TestHelp:
    @pytest.mark.parametrize(
        ("name", "ending"),
        [
            ("fuel", " (only with --by car)"),
            ("wheels", " (only with --by car or bike)"),
            ("captain", " (only with --crew or --by car)"),
            ("cargo", " (not with --place sea or --crew)"),
            ("place", " (moon only with --rocket or --by bike)"),
            ("end", " (only with START)"),
            ("crew", ""),
        ],
    )
    def test_help_says_which_options_go_together(self, name, ending):
        declared = Trip.__dataclass_fields__[name]
        assert declared.metadata["conditions"].help(Trip.flags()) == ending


class TestLoad:
    def test_options_that_do_not_go_together_are_refused(self):
        with pytest.raises(UsageError, match="--fuel"):
            Trip.load("evaluate", None, {"fuel": "diesel"})

    def test_options_of_a_file_are_refused_alike(self, tmp_path):
        file = tmp_path / "trip.toml"
        file.write_text('fuel = "diesel"\n')
        with pytest.raises(UsageError, match="--fuel"):
            Trip.load("evaluate", file, {})
        assert Trip.load("evaluate", file, {"by": "car"})[0].fuel == "diesel"

    def test_every_combination_of_a_grid_is_checked(self):
        with pytest.raises(UsageError, match="--depth"):
            Trip.load("evaluate", None, {"place": ["sea", "city"], "depth": 3})
