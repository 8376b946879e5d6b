"""How much of an answer repeats what stood in it before."""

from collections.abc import Sequence

GRAM = 4  # tokens of a run that counts as repeated


def repetition(tokens: Sequence[int]) -> float | None:
    """Share of an answer's runs of four tokens that stood in it before; None below five tokens."""
    runs = list(zip(*(tokens[shift:] for shift in range(GRAM)), strict=False))
    return 1 - len(set(runs)) / len(runs) if len(runs) > 1 else None
