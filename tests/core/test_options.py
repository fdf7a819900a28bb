"""Options and how a config gets its values."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest

from ddlabel.core.errors import UsageError
from ddlabel.core.option import option
from ddlabel.core.options import Options


@dataclass(frozen=True, kw_only=True)
class Bread(Options):
    """A config with one option of every kind."""

    AXES = ("flour", "shape")

    flour: str = option("wheat", "kind of flour")
    shape: str = option("round", "shape of the loaf")
    loaves: int = option(1, "number of loaves", low=1, high=9)
    salt: float = option(0.1, "share of salt", above=0, high=1)
    crust: str = option("thin", "kind of crust", choices=("thin", "thick"))
    rise: float | str = option(1.0, "hours to rise", above=0, auto=True)
    seeds: tuple[str, ...] = option((), "what to sprinkle on top")
    oven: str = option("left", "which oven", recorded=False)
    photo: bool = option(default=False, help="take a photo", part_of_key=False)


class TestBounds:
    @pytest.mark.parametrize(
        ("values", "flag"),
        [
            ({"loaves": 0}, "--loaves"),
            ({"loaves": 10}, "--loaves"),
            ({"salt": 0.0}, "--salt"),
            ({"salt": 1.1}, "--salt"),
            ({"salt": math.nan}, "--salt"),
            ({"crust": "thik"}, "'thick'"),
            ({"rise": 0.0}, "--rise"),
        ],
    )
    def test_value_outside_is_refused(self, values, flag):
        with pytest.raises(UsageError, match=flag):
            Bread(**values)

    @pytest.mark.parametrize(
        "values", [{"loaves": 1}, {"loaves": 9}, {"salt": 1.0}, {"rise": "auto"}, {}]
    )
    def test_value_at_the_ends_is_accepted(self, values):
        Bread(**values)


class TestLoad:
    @pytest.fixture
    def file(self, tmp_path):
        file = tmp_path / "bread.toml"
        file.write_text('flour = "rye"\nloaves = 2\n[evaluate]\nloaves = 3\nseeds = "poppy"\n')
        return file

    def test_given_options_win_over_file_and_file_over_defaults(self, file):
        (bread,) = Bread.load("evaluate", file, {"flour": "spelt", "shape": None, "seeds": []})
        assert bread == Bread(flour="spelt", loaves=3, seeds=("poppy",))

    def test_table_of_another_command_is_ignored(self, file):
        assert Bread.load("relabel", file, {})[0].loaves == 2

    def test_file_is_checked_against_the_options(self, tmp_path):
        file = tmp_path / "bread.toml"
        file.write_text("AXES = 'x'\n")
        with pytest.raises(UsageError, match="AXES"):
            Bread.load("evaluate", file, {})

    def test_axes_make_a_grid_whose_last_axis_changes_fastest(self):
        grid = Bread.load("evaluate", None, {"flour": "wheat,rye", "shape": ["round", "long,flat"]})
        assert [(bread.flour, bread.shape) for bread in grid] == [
            ("wheat", "round"),
            ("wheat", "long"),
            ("wheat", "flat"),
            ("rye", "round"),
            ("rye", "long"),
            ("rye", "flat"),
        ]

    @pytest.mark.parametrize("given", ["rye,rye", ",", ["rye", "wheat,rye"]])
    def test_axis_with_equal_values_or_none_is_refused(self, given):
        with pytest.raises(UsageError, match="--flour"):
            Bread.load("evaluate", None, {"flour": given})

    @pytest.mark.parametrize(("text", "value"), [("2", 2.0), ("auto", "auto"), (3, 3.0)])
    def test_number_or_auto_is_read(self, text, value):
        assert Bread.load("evaluate", None, {"rise": text})[0].rise == value

    def test_other_word_than_auto_is_refused(self):
        with pytest.raises(UsageError, match="--rise"):
            Bread.load("evaluate", None, {"rise": "long"})


class TestRecords:
    def test_record_leaves_out_options_that_do_not_change_the_outcome(self):
        assert Bread().recorded().keys() == {
            "flour",
            "shape",
            "loaves",
            "salt",
            "crust",
            "rise",
            "seeds",
            "photo",
        }

    def test_key_leaves_out_options_that_only_add_figures(self):
        plain = Bread(oven="right")
        with_photo = Bread(photo=True)
        assert plain.key_options() == with_photo.key_options()
        assert plain.recorded() != with_photo.recorded()
        assert plain.recorded().keys() - plain.key_options().keys() == {"photo"}
        assert Bread.figure_options() == ["photo"]

    def test_key_has_every_other_recorded_option(self):
        assert Bread(salt=0.2).key_options() != Bread().key_options()
