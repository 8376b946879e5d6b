"""Names beside points: none on another, on a point, or outside; what finds no place is left out."""

import numpy as np
import pytest

from personascope.warehouse.drawing import labels


def boxes(found: list[dict], across: list[float], down: list[float], at: list[int]) -> list[labels.Box]:
    return [labels._box(across[i], down[i], len(each["words"]), labels.Side(each["align"], each["dx"], each["dy"])) for each, i in zip(found, at, strict=True)]


def apart(one: labels.Box, other: labels.Box) -> bool:
    return one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


@pytest.mark.parametrize("n", [2, 11, 60])
def test_names_lie_apart_and_inside(n):
    x, y = np.random.default_rng(n).normal(size=(2, n)).tolist()
    found = labels.placed(x, y, [f"persona_{number}" for number in range(n)])
    at = [x.index(each["x"]) for each in found]
    across, down = labels._pixels(x, labels.WIDTH).tolist(), (labels.HEIGHT - labels._pixels(y, labels.HEIGHT)).tolist()
    named = boxes(found, across, down, at)
    assert all(apart(one, other) for place, one in enumerate(named) for other in named[:place])
    dots = [(left - labels.DOT, top - labels.DOT, left + labels.DOT, top + labels.DOT) for left, top in zip(across, down, strict=True)]
    assert all(apart(box, dot) for box, own in zip(named, at, strict=True) for place, dot in enumerate(dots) if place != own)
    assert all(labels._is_inside(box) for box in named) and len(found) >= min(n, 25)
    assert at == sorted(at), "the earlier before the later"


def test_a_name_without_a_place_is_left_out_and_an_empty_one_takes_none():
    crowd = [number / 1000 for number in range(200)]
    found = labels.placed([*crowd, 9.0], [*crowd, 9.0], [""] * 100 + ["in the crowd"] * 100 + ["alone"])
    assert {each["words"] for each in found} >= {"alone"} and 0 < len(found) < 10
    assert labels.placed([], [], []) == [] and labels.placed([1.0], [1.0], ["one"])[0]["align"] == "left"
