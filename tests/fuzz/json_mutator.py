"""Changes of a JSON value that leave it JSON: bytes that change at random seldom do."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

ODD_VALUES = (
    *(None, True, 0, -1, 1.5, 1e-300, 2**63, 10**400, "", "x", "\ud800", "a\nb"),
    *([], {}, [0], ["x"], [[]], {"x": 1}),
)


def change(data: bytes, seed: int) -> bytes | None:
    """Return JSON with one value replaced, removed or added; None if the data is no JSON."""
    generator = random.Random(seed)
    try:
        value = json.loads(data)
        places = [*places_in(value)]
        if not places:
            return None
        container, key = generator.choice(places)
        match generator.randrange(4):
            case 0:
                del container[key]
            case 1:
                container[key] = copy.deepcopy(generator.choice(ODD_VALUES))
            case 2:
                other, name = generator.choice(places)
                container[key] = copy.deepcopy(other[name])
            case 3:
                add(container, copy.deepcopy(container[key]), generator)
        return json.dumps(value).encode()
    except (ValueError, RecursionError):
        return None


def add(container: Any, value: Any, generator: random.Random) -> None:
    if isinstance(container, list):
        container.insert(generator.randrange(len(container) + 1), value)
    else:
        container[f"x{generator.randrange(3)}"] = value


def places_in(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every list and object in a value, with each of its indices or names."""
    if isinstance(value, dict):
        keys: Any = list(value)
    elif isinstance(value, list):
        keys = range(len(value))
    else:
        return
    for key in keys:
        yield value, key
        yield from places_in(value[key])
