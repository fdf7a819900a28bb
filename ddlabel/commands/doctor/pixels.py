"""Checks of the pixel space: whether pixels are what the header says."""

from typing import NamedTuple

import numpy as np

from ddlabel.commands.doctor.case import Case, Certainty, Expert, Finding, checks, percent
from ddlabel.commands.doctor.class_order import (
    MOST_NATS,
    best_order,
    is_better,
    taken_for,
)
from ddlabel.commands.doctor.import_again import (
    import_again,
    normalised_by,
    numbers,
    then_again,
    was_normalised,
)
from ddlabel.commands.doctor.readings import Reading, readings
from ddlabel.commands.learned_pixels import are_levels
from ddlabel.data.labels import Array

# The darkest and the brightest pixels of images are near 0 and 1; of learned ones a little off.
_QUANTILES = (0.001, 0.999)
_SMALLEST_MISFIT = 0.1
_MUCH_NEARER = 1 / 3
_SAME_MISFIT = 0.02
# An expert sees so many images in each reading.
_NUM_SHOWN = 500
# Another reading must be likelier by so many nats an image, and by so many standard errors.
_LEAST_GAIN = 0.1
_LEAST_ERRORS = 3.0
_LIKELY_ERRORS = 4.5
_CERTAIN_ERRORS = 6.0
_SMALLEST_ERROR = 1e-6
# Readings that differ by fewer standard errors fit about as well.
_SAME_ERRORS = 2.0
# The channel means may differ by so much from the expert's, in unit space.
_MEAN_DIFFERENCE = 0.1
_STD_RATIO = 1.5


class Fit(NamedTuple):
    """How an expert sees a reading: its agreement with hard labels, their log-probabilities [n]."""

    reading: Reading
    agreement: float
    log_probs: Array


@checks.add
def pixel_space(case: Case, expert: Expert) -> list[Finding]:
    """Whether the expert agrees with the images as they are, or in another reading of the pixels.

    The readings are the normalisations of the field, and mistakes of scale and layout.
    """
    step = -(-len(case.rows) // _NUM_SHOWN)
    images, hard_labels = case.images[::step], case.hard_labels[::step]
    fits = []
    for reading in [Reading("as they are", np.asarray, ()), *readings(case, expert)]:
        fits.append(_fit(case, expert, reading, images, hard_labels))
    now, others = fits[0], fits[1:]
    best = max(others, key=lambda fit: float(fit.log_probs.mean()))
    gain = float(best.log_probs.mean() - now.log_probs.mean())
    num_errors = _errors_between(best, now)
    if gain < _LEAST_GAIN or num_errors < _LEAST_ERRORS:
        return []
    found = (
        f"{percent(now.agreement)} of the images agree with the expert as they are, and "
        f"{percent(best.agreement)} if they are read as {best.reading.name}"
    )
    similar = [fit.reading.name for fit in others if _errors_between(best, fit) < _SAME_ERRORS]
    similar.remove(best.reading.name)
    if similar:
        found += f"; about as well as {', or '.join(similar)}"
    return [
        Finding(
            check="pixel-space",
            found=found,
            certainty=_certainty(num_errors, is_only=not similar),
            advice=f"import the pixels as what they are{then_again(case)}",
            commands=best.reading.commands,
        )
    ]


def _certainty(num_errors: float, *, is_only: bool) -> Certainty:
    if num_errors >= _CERTAIN_ERRORS and is_only:
        return "certain"
    return "likely" if num_errors >= _LIKELY_ERRORS else "possible"


def _fit(case: Case, expert: Expert, reading: Reading, images: Array, hard_labels: Array) -> Fit:
    """Show images to the expert in one reading. Classes in another order may fit them too."""
    log_probs = expert.log_probs(reading.to_unit(images))
    numbers = taken_for(case.bundle.classes, expert.classes)
    order = best_order(log_probs, hard_labels, numbers)
    if is_better(order):
        numbers = order.numbers
    taken = numbers[hard_labels]
    own = np.take_along_axis(log_probs, taken[:, None], 1)[:, 0]
    agreement = float((log_probs.argmax(1) == taken).mean())
    return Fit(reading=reading, agreement=agreement, log_probs=np.maximum(own, -MOST_NATS))


def _errors_between(first: Fit, second: Fit) -> float:
    """Return by how many standard errors the first reading is likelier, on the same images."""
    differences = first.log_probs - second.log_probs
    error = differences.std() / len(differences) ** 0.5
    return float(differences.mean() / max(error, _SMALLEST_ERROR))


@checks.add
def pixel_values(case: Case) -> list[Finding]:
    """Whether the pixels of floating point are in unit space, by their range and grey levels."""
    if case.bundle.pixels.space != "unit" or are_levels(case.images):
        return []
    low, high = float(case.images.min()), float(case.images.max())
    found = f"the pixels go from {low:.3g} to {high:.3g}, in a space of 0 to 1"
    on_levels = [each for each in readings(case) if are_levels(each.to_unit(case.images))]
    if on_levels:
        names = ", or ".join(reading.name for reading in on_levels)
        return [
            Finding(
                check="pixel-values",
                found=f"{found}; they are whole grey levels if they are read as {names}",
                certainty="certain" if len(on_levels) == 1 else "likely",
                advice=f"import the pixels as what they are{then_again(case)}",
                commands=on_levels[0].commands,
            )
        ]
    return _misfit_finding(case, found)


def _misfit_finding(case: Case, found: str) -> list[Finding]:
    """Return a finding if another reading brings the pixels much nearer to the range 0 … 1."""
    now = misfit(case.images)
    misfits = {each.name: misfit(each.to_unit(case.images)) for each in readings(case)}
    by_name = {each.name: each for each in readings(case)}
    best = min(misfits, key=lambda name: misfits[name])
    if now < _SMALLEST_MISFIT or misfits[best] > _MUCH_NEARER * now:
        return []
    similar = [name for name in misfits if misfits[name] < 2 * misfits[best] + _SAME_MISFIT]
    names = ", or ".join([best, *(name for name in similar if name != best)])
    return [
        Finding(
            check="pixel-values",
            found=f"{found}; they go from about 0 to 1 if they are read as {names}",
            certainty="likely",
            advice=f"import the pixels as what they are{then_again(case)}",
            commands=by_name[best].commands,
        )
    ]


def misfit(images: Array) -> float:
    """Return how far the darkest and brightest pixels of images are from 0 and 1.

    It is the mean over the channels of the distances of the 0.1 % and 99.9 % quantiles.
    """
    dark, bright = np.quantile(images, _QUANTILES, axis=(0, 2, 3))
    return float(np.abs(dark).mean() + np.abs(1 - bright).mean())


@checks.add
def normalisation(case: Case, expert: Expert) -> list[Finding]:
    """Whether the header normalises pixels as the expert does."""
    pixels = case.bundle.pixels
    mean_differs = max(map(abs, np.subtract(pixels.mean, expert.mean))) > _MEAN_DIFFERENCE
    ratios = np.divide(pixels.std, expert.std)
    std_differs = max(*ratios, *(1 / ratios)) > _STD_RATIO
    if not mean_differs and not std_differs:
        return []
    changes = normalised_by(expert.mean, expert.std)
    advice = (
        "students normalise by the header: give it those of the real data, which a few distilled "
        "images do not have"
    )
    if was_normalised(case) and pixel_values(case):
        return []  # the pixels tell it better
    if was_normalised(case):
        # The numbers of the header were undone at the import: the pixels are wrong as well.
        changes["pixels"] = "normalised"
        advice = (
            "the pixels were converted by the header's numbers too: import them again as what "
            f"they are{then_again(case)}"
        )
    return [
        Finding(
            check="normalisation",
            found=f"the header has mean {numbers(pixels.mean)} and std {numbers(pixels.std)}, the "
            f"expert's data mean {numbers(expert.mean)} and std {numbers(expert.std)}",
            certainty="possible",
            advice=advice,
            commands=import_again(case, **changes),
        )
    ]
