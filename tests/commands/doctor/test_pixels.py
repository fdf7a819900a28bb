"""`doctor`: the pixel space, against images that were damaged on purpose."""

from __future__ import annotations

import shlex
from dataclasses import replace

import numpy as np
import pytest
from stub_experts import rows_bundle, rows_expert

import ddlabel
from ddlabel.commands.doctor.case import Case
from ddlabel.commands.doctor.pixels import misfit, normalisation, pixel_space, pixel_values
from ddlabel.commands.doctor.readings import readings
from ddlabel.core.normalisation import conventions
from ddlabel.data.bundle import Bundle
from ddlabel.data.provenance import Entry, Input

COLOUR = [name for name, convention in conventions.items() if len(convention.mean) == 3]
GREY = [name for name in conventions if name not in (*COLOUR, "none")]


def case_of(bundle: Bundle) -> Case:
    return Case(bundle=bundle, name="few.safetensors")


def in_unit_space(bundle: Bundle, images: np.ndarray, **changes) -> Bundle:
    pixels = replace(bundle.pixels, space="unit", **changes)
    return replace(bundle, images=images.astype(np.float32), pixels=pixels)


def normalised(bundle: Bundle, name: str, noise: float = 0) -> Bundle:
    """The bundle with pixels that a convention normalised, declared as unit space."""
    mean, std = (np.array(values).reshape(1, -1, 1, 1) for values in conventions[name][1:3])
    images = (bundle.images / 255 - mean) / std
    images += np.random.default_rng(0).normal(0, 1, images.shape) * noise
    return in_unit_space(bundle, images)


@pytest.mark.parametrize("name", [*COLOUR, *GREY])
def test_a_normalisation_is_known_by_its_grey_levels(name):
    bundle = rows_bundle(channels=3 if name in COLOUR else 1)
    (finding,) = pixel_values(case_of(normalised(bundle, name)))
    # Two conventions of CIFAR-100 differ by a twentieth of a grey level.
    assert f"normalised by {name}" in finding.found
    assert (finding.certainty == "certain") == ("100" not in name and "edc" not in name)
    words = shlex.split(finding.commands[-1])
    chosen = words[words.index("--normalise") + 1]
    assert words[words.index("--pixels") + 1] == "normalised"
    assert conventions[chosen].mean == pytest.approx(conventions[name].mean, abs=2e-4)


@pytest.mark.parametrize("name", COLOUR)
def test_a_normalisation_of_learned_pixels_is_known_by_their_range(name):
    (finding,) = pixel_values(case_of(normalised(rows_bundle(), name, noise=0.03)))
    assert finding.certainty == "likely"
    _, _, names = finding.found.partition("if they are read as ")
    assert f"normalised by {name}" in names


@pytest.mark.parametrize("noise", [0, 0.03])
def test_images_that_a_wrong_normalisation_was_undone_of_are_imported_again(noise, cli):
    bundle = rows_bundle()
    raw = normalised(bundle, "cifar10-mtt", noise).images
    wrong = conventions["imagenet"]
    mean, std = (np.array(values).reshape(1, -1, 1, 1) for values in wrong[1:3])
    history = Entry(
        command="import",
        version="0.1.0",
        options={"pixels": "normalised", "mean": "0.485,0.456,0.406", "std": "0.229,0.224,0.225"},
        inputs=(Input(role="source", name="images_best.pt", sha256=""),),
    )
    imported = in_unit_space(bundle, raw * std + mean, mean=wrong.mean, std=wrong.std)
    (finding,) = pixel_values(case_of(replace(imported, history=(history,))))
    assert "normalised by cifar10-mtt" in finding.found
    ddlabel.write("few.safetensors", imported)
    for line in finding.commands:
        cli(*shlex.split(line)[1:])
    mended = ddlabel.read("few-mended.safetensors").images
    assert np.allclose(mended, bundle.images / 255, atol=5 * noise * 0.2023 + 1e-4)


def test_pixels_in_unit_space_have_no_finding():
    bundle = rows_bundle()
    unit = bundle.images / 255
    shaken = unit + np.random.default_rng(0).normal(0, 0.05, unit.shape)
    for images in (unit, shaken):
        assert pixel_values(case_of(in_unit_space(bundle, images))) == []
    assert pixel_values(case_of(bundle)) == []


def test_misfit_is_the_distance_of_black_and_white():
    images = np.linspace(0, 1, 3 * 4096).reshape(1, 3, 64, 64)
    # Each channel has a third of the range.
    assert misfit(images) == pytest.approx((0 + 1 + 2) / 9 + (2 + 1 + 0) / 9, abs=0.01)


MISTAKES = {
    "rows, columns, channels (NHWC)": lambda images: images.transpose(0, 2, 3, 1).reshape(
        images.shape
    ),
    "columns before rows": lambda images: images.swapaxes(2, 3),
    "inverted": lambda images: 255 - images,
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_of_layout_is_known_by_the_expert_and_mended_by_its_command(
    name, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    bundle = rows_bundle()
    damaged = replace(bundle, images=np.ascontiguousarray(MISTAKES[name](bundle.images)))
    (finding,) = pixel_space(case_of(damaged), rows_expert(bundle))
    assert f"if they are read as {name}" in finding.found
    assert finding.certainty == "certain"
    ddlabel.write("few.safetensors", damaged)
    python, flag, program = shlex.split(finding.commands[0])
    assert (python, flag) == ("python", "-c")
    exec(program, {})
    assert np.array_equal(ddlabel.read("few-mended.safetensors").images, bundle.images)


@pytest.mark.parametrize("factor", [255.0, 1 / 255])
def test_a_mistake_of_scale_is_known_by_the_expert(factor):
    bundle = rows_bundle()
    scaled = in_unit_space(bundle, bundle.images / 255 * factor)
    (finding,) = pixel_space(case_of(scaled), rows_expert(bundle))
    expected = "0 … 255" if factor > 1 else "divided by 255 twice"
    assert expected in finding.found


def test_exchanged_colours_are_known_by_an_expert_that_looks_at_them():
    bundle = rows_bundle()
    images = np.array(bundle.images)
    images[:, 1:] = 40
    expert = rows_expert(bundle)
    red = replace(expert, label=lambda images: 3 * expert.label(images[:, :1]))
    assert pixel_space(case_of(replace(bundle, images=images)), red) == []
    (finding,) = pixel_space(case_of(replace(bundle, images=images[:, ::-1].copy())), red)
    assert "blue, green, red" in finding.found


def test_images_that_the_expert_knows_have_no_finding():
    bundle = rows_bundle()
    assert pixel_space(case_of(bundle), rows_expert(bundle)) == []
    assert normalisation(case_of(bundle), rows_expert(bundle)) == []


def test_a_header_with_another_normalisation_than_the_experts_is_found():
    bundle = rows_bundle()
    expert = replace(rows_expert(bundle), mean=(0.1, 0.5, 0.5))
    (finding,) = normalisation(case_of(bundle), expert)
    assert "--mean 0.1,0.5,0.5" in finding.commands[-1]


def test_every_reading_gives_images_of_the_same_shape():
    case = case_of(in_unit_space(rows_bundle(), rows_bundle().images / 255))
    for reading in readings(case):
        assert reading.to_unit(case.images).shape == case.images.shape
        assert reading.commands
