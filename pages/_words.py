"""What the app calls things: the words of `warehouse.words`, which the figures use too."""

from warehouse.words import CONTROL_MEANINGS, CONTROLS, NOTHING_KNOWN, REGION_NAMES, SEGMENTATIONS, count, count_range, learning_rate, p_value, signed

__all__ = [
    "CONTROLS",
    "CONTROL_MEANINGS",
    "NOTHING_KNOWN",
    "REGION_NAMES",
    "SEGMENTATIONS",
    "count",
    "count_range",
    "learning_rate",
    "p_value",
    "signed",
]
