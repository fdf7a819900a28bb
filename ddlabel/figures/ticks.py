"""Round numbers for the axes of charts that are drawn as SVG."""

import math

_NICE_STEPS = (1, 2, 2.5, 5, 10)
_NUM_TICKS = 5
_MOST_LOG_TICKS = 7


def linear_ticks(low: float, high: float) -> list[float]:
    """Return about five round numbers between two different bounds."""
    step = _nice_step((high - low) / _NUM_TICKS)
    numbers = range(math.ceil(low / step), math.floor(high / step) + 1)
    return [number * step for number in numbers]


def log_ticks(low: float, high: float) -> list[float]:
    """Return round numbers for a logarithmic axis between two positive bounds.

    They are powers of ten, with their double and fivefold where there are few; over a short range
    they are those of a linear axis.
    """
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1,)):
        ticks = [factor * 10.0**exponent for exponent in exponents for factor in factors]
        inside = [tick for tick in ticks if low <= tick <= high]
        if len(inside) <= _MOST_LOG_TICKS:
            break
    if len(inside) >= 2:
        return inside[:: math.ceil(len(inside) / _MOST_LOG_TICKS)]
    return [tick for tick in linear_ticks(low, high) if tick > 0]


def tick_text(value: float) -> str:
    """Return a number of an axis as text, with a real minus sign."""
    return f"{value:g}".replace("-", "−")


def _nice_step(step: float) -> float:
    """Return the smallest of 1, 2, 2.5, 5 and 10 times a power of ten that is at least `step`."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(nice * power for nice in _NICE_STEPS if nice * power >= step * (1 - 1e-9))
