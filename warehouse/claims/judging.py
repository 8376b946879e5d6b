"""Compares what a query found with what was published: exactly, as printed, at a coarser rounding, or not at all; knows neither lake nor file."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_DOWN, ROUND_HALF_UP, Decimal
from typing import TypeAlias

SLACK = Decimal("1e-9")  # relative; floats of 32 or 64 bits that stand for a decimal miss it by less
LEAST_DIGITS = 2  # significant digits a rounding must leave: with one, 0.35 and 0.398 would be the same number, and 1.49 would be 1
Scalar: TypeAlias = bool | Decimal | str


@dataclass(frozen=True)
class Range:
    """Published bounds, both included. A range with both ends was printed rounded; a single bound is a threshold and is taken as it stands."""

    low: Decimal | None
    high: Decimal | None

    def __str__(self) -> str:
        if self.low is None:
            return f"at most {self.high}"
        return f"at least {self.low}" if self.high is None else f"{self.low} to {self.high}"


Expected: TypeAlias = Scalar | Range | tuple[Scalar, ...]
Found: TypeAlias = Scalar | tuple[Scalar, ...]


@dataclass(frozen=True)
class Agreement:
    """How a found value agrees: `decimals` is the coarser rounding at which it does (None: as published), `words` says it for people."""

    words: str
    decimals: int | None = None


class IncomparableError(ValueError):
    """The query's value is of another kind than the published one."""


def compare(expected: Expected, found: Found, tolerance: Decimal = Decimal(0), coarser: int | None = None) -> Agreement | None:
    """How `found` agrees with `expected`, or None where it does not; raises IncomparableError for values of different kinds.

    A number agrees when it is within `tolerance` or, where none is given, rounds to the published one at its printed decimals (a tie may have been rounded
    either way); one printed with a single digit must be within a tenth of a unit, and such an end of a range is exact. One that only agrees at fewer decimals,
    of which LEAST_DIGITS significant digits are left, or at `coarser` decimals where the claim names them, agrees coarsely. A list that is held against a range
    must lie in it with every element.
    """
    pairs = _pairs(expected, found)
    if pairs is None:
        return None
    if all(_equal(published, value, Decimal(0)) for published, value in pairs):
        return Agreement("")
    if all(_equal(published, value, tolerance) for published, value in pairs):
        return Agreement(f"within the tolerance of {tolerance}")
    if not tolerance and all(_equal(published, value, tolerance) or _as_printed(published, value) for published, value in pairs):
        return Agreement("rounded as printed")
    for decimals in [coarser] if coarser is not None else () if tolerance else _coarser_decimals(expected):
        if all(_agree_at(published, value, decimals) for published, value in pairs):
            return Agreement(f"true to {decimals} decimal{'' if decimals == 1 else 's'} only", decimals)
    return None


def show(value: Expected | Found | None) -> str:
    """A published or found value for people: numbers as printed, or to six significant digits where a query gave more."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(show, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Decimal):
        return format(value, "f") if _digits(value) <= 6 and Decimal("1e-4") <= abs(value) < Decimal("1e6") else f"{float(value):.6g}"
    return "" if value is None else str(value)


def _pairs(expected: Expected, found: Found) -> list[tuple[Scalar | Range, Scalar]] | None:
    """What is held against what, or None for lists of different lengths."""
    if isinstance(expected, tuple):
        if not isinstance(found, tuple):
            raise IncomparableError(f"expected a list ({show(expected)}), the query gives {_kind(found)} ({show(found)})")
        if len(expected) != len(found):
            return None
        pairs: Iterable[tuple[Scalar | Range, Scalar]] = zip(expected, found, strict=True)
    elif isinstance(found, tuple):
        if not isinstance(expected, Range):
            raise IncomparableError(f"expected {_kind(expected)} ({show(expected)}), the query gives a list ({show(found)})")
        pairs = ((expected, value) for value in found)
    else:
        pairs = [(expected, found)]
    checked = list(pairs)
    for published, value in checked:
        if _kind(published) != _kind(value):
            raise IncomparableError(f"expected {_kind(published)} ({show(published)}), the query gives {_kind(value)} ({show(value)})")
    return checked


def _kind(value: Expected | Found) -> str:
    if isinstance(value, tuple):
        return "a list"
    return "true or false" if isinstance(value, bool) else "text" if isinstance(value, str) else "a number"


def _equal(published: Scalar | Range, value: Scalar, tolerance: Decimal) -> bool:
    if isinstance(published, Range):
        assert isinstance(value, Decimal)
        return _within(published, value, tolerance + SLACK * abs(value), tolerance + SLACK * abs(value))
    if isinstance(published, Decimal) and isinstance(value, Decimal):
        return abs(published - value) <= tolerance + SLACK * max(abs(published), abs(value))
    return published == value


def _as_printed(published: Scalar | Range, value: Scalar) -> bool:
    """Within half a unit of the last printed decimal; within a tenth of a unit where that is the only digit."""
    if isinstance(published, Range) and isinstance(value, Decimal) and published.low is not None and published.high is not None:
        below, above = (_half_unit(end) if _printed_digits(end) >= LEAST_DIGITS else SLACK * abs(value) for end in (published.low, published.high))
        return _within(published, value, below, above)
    if not (isinstance(published, Decimal) and isinstance(value, Decimal)):
        return False
    return abs(published - value) <= _half_unit(published) / (1 if _printed_digits(published) >= LEAST_DIGITS else 5)


def _agree_at(published: Scalar | Range, value: Scalar, decimals: int) -> bool:
    if isinstance(published, Range) and isinstance(value, Decimal):
        rounded = [_round(value, decimals, rounding) for rounding in (ROUND_HALF_UP, ROUND_HALF_DOWN)]
        low = None if published.low is None else _round(published.low, decimals, ROUND_HALF_DOWN)
        high = None if published.high is None else _round(published.high, decimals, ROUND_HALF_UP)
        return any(_within(Range(low, high), each, Decimal(0), Decimal(0)) for each in rounded)
    if isinstance(published, Decimal) and isinstance(value, Decimal):
        ways = (ROUND_HALF_UP, ROUND_HALF_DOWN)
        return bool({_round(published, decimals, way) for way in ways} & {_round(value, decimals, way) for way in ways})
    return published == value


def _within(bounds: Range, value: Decimal, below: Decimal, above: Decimal) -> bool:
    return (bounds.low is None or value >= bounds.low - below) and (bounds.high is None or value <= bounds.high + above)


def _coarser_decimals(expected: Expected) -> range:
    """Decimals to try for a single printed number, from one fewer than printed."""
    if isinstance(expected, bool) or not isinstance(expected, Decimal):
        return range(0)
    before_point = expected.adjusted() + 1 if expected else 1
    return range(_decimals(expected) - 1, max(LEAST_DIGITS - before_point, 0) - 1, -1)


def _decimals(printed: Decimal) -> int:
    exponent = printed.as_tuple().exponent
    return max(-exponent, 0) if isinstance(exponent, int) else 0


def _digits(number: Decimal) -> int:
    return len(number.as_tuple().digits)


def _printed_digits(printed: Decimal) -> int:
    """Digits that were printed of a number, leading zeros aside; 0.00 was printed with three."""
    return _digits(printed) if printed else _decimals(printed) + 1


def _half_unit(printed: Decimal) -> Decimal:
    return Decimal(1).scaleb(-_decimals(printed)) / 2 * (1 + SLACK)


def _round(value: Decimal, decimals: int, rounding: str) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-decimals), rounding=rounding)
