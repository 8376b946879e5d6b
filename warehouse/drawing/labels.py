"""Where the names beside points stand, so that none lies on another name, on a point, or outside the chart."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

WIDTH, HEIGHT = 460, 260  # pixels between the axes, of the narrowest chart with names: beside the sidebar on a screen of 800
FONT, LETTER, TALL, DOT = 11, 6.4, 13, 5
EDGE = 14  # pixels that the axes leave around the outermost points


class Side(NamedTuple):
    """A place beside a point: which end of the name is there, and how many pixels right of and below the point."""

    align: str
    dx: int
    dy: int


SIDES = (
    Side("left", 6, -6),
    Side("right", -6, -6),
    Side("left", 6, 12),
    Side("right", -6, 12),
    Side("center", 0, -10),
    Side("center", 0, 18),
    Side("left", 9, 3),
    Side("right", -9, 3),
    Side("left", 5, -16),
    Side("right", -5, -16),
    Side("left", 5, 23),
    Side("right", -5, 23),
)
Box = tuple[float, float, float, float]
Numbers = npt.NDArray[np.float64]


def placed(x: Sequence[float], y: Sequence[float], names: Sequence[str], y_ends: tuple[float, float] | None = None) -> list[dict[str, Any]]:
    """The names that find a place, the earlier before the later: x and y of their points, words, align, dx and dy (pixels). An empty name needs none.

    `y_ends`: where the axis of y ends, if not at the outermost points.
    """
    across = _pixels(x, WIDTH)
    down = HEIGHT - (_pixels(y, HEIGHT) if y_ends is None else _pixels([*y, *y_ends], HEIGHT)[: len(y)])
    dots = np.stack([across - DOT, down - DOT, across + DOT, down + DOT], axis=1)
    taken: list[Box] = []
    found = []
    for at, words in enumerate(names):
        if not words:
            continue
        others = np.concatenate([np.delete(dots, at, axis=0), np.asarray(taken, dtype=np.float64).reshape(-1, 4)])
        for side in SIDES:
            box = _box(across[at], down[at], len(words), side)
            if _is_inside(box) and not _touches(box, others):
                taken.append(box)
                found.append({"x": x[at], "y": y[at], "words": words, **side._asdict()})
                break
    return found


def _pixels(values: Sequence[float], length: int) -> Numbers:
    """The values along an axis of so many pixels, the smallest and the largest `EDGE` from its ends."""
    numbers = np.asarray(values, dtype=np.float64)
    low, high = (numbers.min(), numbers.max()) if len(numbers) else (0.0, 0.0)
    if high == low:
        return np.full(len(numbers), length / 2)
    return EDGE + (numbers - low) / (high - low) * (length - 2 * EDGE)


def _box(across: float, down: float, letters: int, side: Side) -> Box:
    """Left, top, right and bottom of a name."""
    wide = LETTER * letters
    left = across + side.dx - {"left": 0.0, "center": wide / 2, "right": wide}[side.align]
    bottom = down + side.dy + 2
    return left, bottom - TALL, left + wide, bottom


def _is_inside(box: Box) -> bool:
    return box[0] >= 0 and box[1] >= 0 and box[2] <= WIDTH and box[3] <= HEIGHT


def _touches(box: Box, others: Numbers) -> bool:
    left, top, right, bottom = box
    return bool(((others[:, 0] < right) & (others[:, 2] > left) & (others[:, 1] < bottom) & (others[:, 3] > top)).any())
