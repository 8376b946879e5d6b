"""Compares what a query found with what was published: exactly, as printed, at a coarser rounding, or not at all; knows neither lake nor file."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_DOWN, ROUND_HALF_UP, Decimal
from typing import TypeAlias

SLACK = Decimal("1e-9")  # relative; floats of 32 or 64 bits that stand for a decimal miss it by less
LEAST_DIGITS = 2  # significant digits that are compared at least: with one, 0.35 and 0.398 would be the same number, and 1.49 would be 1
LARGEST_TOLERANCE = Decimal("0.1")  # of the published number: what differs by more agrees in less than two digits
Scalar: TypeAlias = bool | Decimal | str


@dataclass(frozen=True)
class Range:
    """Published bounds, taken as they stand: both included, unless one is `strict` (below, above) or they were `printed` rounded."""

    low: Decimal | None
    high: Decimal | None
    strict_low: bool = False
    strict_high: bool = False
    printed: bool = False

    def __str__(self) -> str:
        low = None if self.low is None else f"above {self.low}" if self.strict_low else f"at least {self.low}"
        high = None if self.high is None else f"below {self.high}" if self.strict_high else f"at most {self.high}"
        both = f"{low} and {high}" if self.strict_low or self.strict_high else f"{self.low} to {self.high}"
        return f"{both if low and high else low or high}{', as printed' if self.printed else ''}"


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
    either way); one printed with fewer than LEAST_DIGITS significant digits is read as if zeros had been printed for the missing ones (1 as 1.0, 0.00 as
    0.0000). One that only agrees at fewer decimals, of which LEAST_DIGITS significant digits are left, agrees coarsely; so does one at the `coarser` decimals
    that the claim names, where it is within LARGEST_TOLERANCE. Bounds hold exactly, and as printed where the range says so. A list that is held against a
    range must lie in it with every element, and have one.
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
        if all(_agree_at(published, value, decimals) and (coarser is None or _near(published, value)) for published, value in pairs):
            return Agreement(f"true to {decimals} decimal{'' if decimals == 1 else 's'} only", decimals)
    return None


def same(one: Found, other: Found) -> bool:
    """Whether two answers of one query are the same, sums in another order aside."""
    if isinstance(one, tuple) or isinstance(other, tuple):
        return isinstance(one, tuple) and isinstance(other, tuple) and len(one) == len(other) and all(map(same, one, other))
    return _kind(one) == _kind(other) and _equal(one, other, SLACK)


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
        if not found:
            return None
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
        return _within(published, value, tolerance, tolerance)
    if isinstance(published, Decimal) and isinstance(value, Decimal):
        return abs(published - value) <= tolerance + SLACK * max(abs(published), abs(value))
    return published == value


def _as_printed(published: Scalar | Range, value: Scalar) -> bool:
    """Within half a unit of the last printed decimal, or of the second significant digit where fewer were printed."""
    if isinstance(published, Range) and isinstance(value, Decimal) and published.printed:
        return _within(published, value, *(Decimal(0) if end is None else _half_unit(end) for end in (published.low, published.high)))
    return isinstance(published, Decimal) and isinstance(value, Decimal) and abs(published - value) <= _half_unit(published)


def _near(published: Scalar | Range, value: Scalar) -> bool:
    """Whether a value is so near that two digits agree at all."""
    if isinstance(published, Range) and isinstance(value, Decimal):
        return _within(published, value, *(Decimal(0) if end is None else LARGEST_TOLERANCE * abs(end) for end in (published.low, published.high)))
    return not isinstance(published, Decimal) or not isinstance(value, Decimal) or abs(published - value) <= LARGEST_TOLERANCE * abs(published)


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
    """Whether a value lies between bounds that are moved outwards by `below` and `above`; floats that stand for a strict bound are on it, not beyond."""
    slack = SLACK * abs(value)
    high_enough = bounds.low is None or (value > bounds.low - below + slack if bounds.strict_low else value >= bounds.low - below - slack)
    low_enough = bounds.high is None or (value < bounds.high + above - slack if bounds.strict_high else value <= bounds.high + above + slack)
    return high_enough and low_enough


def _coarser_decimals(expected: Expected) -> range:
    """Decimals to try for a single printed number, from one fewer than printed; none for a printed zero, which has no digit to keep."""
    if isinstance(expected, bool) or not isinstance(expected, Decimal) or not expected:
        return range(0)
    return range(_decimals(expected) - 1, max(LEAST_DIGITS - (expected.adjusted() + 1), 0) - 1, -1)


def _decimals(printed: Decimal) -> int:
    exponent = printed.as_tuple().exponent
    return max(-exponent, 0) if isinstance(exponent, int) else 0


def _digits(number: Decimal) -> int:
    return len(number.as_tuple().digits)


def _half_unit(printed: Decimal) -> Decimal:
    """Half a unit of the last decimal that was printed, or of that which makes LEAST_DIGITS significant digits; a zero has none of them."""
    missing = max(LEAST_DIGITS - (_digits(printed) if printed else 0), 0)
    return Decimal(1).scaleb(-_decimals(printed) - missing) / 2 * (1 + SLACK)


def _round(value: Decimal, decimals: int, rounding: str) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-decimals), rounding=rounding)
