"""When a found value agrees with a published one: exactly, as printed, at a coarser rounding, within a tolerance, in a range; never by accident."""

from decimal import Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from personascope.warehouse.claims.judging import IncomparableError, Range, compare, show

NUMBERS = st.decimals(-1000, 1000, allow_nan=False, allow_infinity=False, places=8)


def words(expected, found, **settings) -> str | None:
    agreement = compare(_value(expected), _value(found), **settings)
    return None if agreement is None else agreement.words


def _value(value):
    if isinstance(value, (tuple, list)):
        return tuple(map(_value, value))
    return value if isinstance(value, (bool, Range)) or not isinstance(value, (int, float, str)) else _number_or_text(value)


def _number_or_text(value):
    try:
        return Decimal(str(value))
    except ArithmeticError:
        return value


@pytest.mark.parametrize(
    ("expected", "found", "said"),
    [
        ("0.398", "0.3977983", "rounded as printed"),
        ("0.875", "0.875", ""),
        ("0.875", "0.8756", "true to 2 decimals only"),
        ("0.35", "0.3977983", None),  # one significant digit is left at one decimal: both would be 0.4
        ("81.2", "81.25", "rounded as printed"),  # half to even, as Python prints
        ("81.3", "81.25", "rounded as printed"),
        ("-0.0222", "-0.022256", "true to 3 decimals only"),
        ("112", "114", None),  # counts are not rounded to tens
        ("28", "27.7664", "rounded as printed"),
        ("54.3", "54.1", "true to 0 decimals only"),
        (True, False, None),
        ("qwen_default", "qwen_default", ""),
        ("qwen_default", "no_system_turn", None),
        (["0.398", "0.024"], ["0.3977983", "0.0241508"], "rounded as printed"),
        (["0.398", "0.024"], ["0.3977983", "0.034"], None),
        (["24", "28"], ["24", "28", "23"], None),
        ("1", "1.49", None),  # with one digit printed half a unit is half of the number
        ("1", "1.04", "rounded as printed"),
        ("0", "0.4", None),
        ("0.1", "0.149", None),
        ("1", "1.06", None),  # a single digit is read as 1.0
        ("0.00", "-0.004", None),  # a printed zero has no digit that rounding could keep
        ("0.00", "0.00004", "rounded as printed"),
        ("0", "0.49", None),
        ("0", "0.09", None),
        ("0.10", "0.1049", "rounded as printed"),
    ],
)
def test_numbers_text_and_lists(expected, found, said):
    assert words(expected, found) == said


@pytest.mark.parametrize(
    ("low", "high", "found", "agrees"),
    [
        ("0.87", "0.89", "0.8746", True),
        ("0.87", "0.89", "0.8933", False),  # bounds hold as they stand
        ("0.87", "0.89", "0.8251", False),
        ("0.87", "0.89", ["0.8746", "0.8251"], False),
        ("90", "100", "89.5", False),
        ("0.87", "0.89", [], False),  # nothing lies in no range
        ("90", "100", "34", False),
        ("0", "1", "1.49", False),
        ("0", "1", "1.04", False),  # an end of one digit is no rounded figure
        ("0", "1", "1", True),
        (None, "2", "2", True),
        (None, "2", "2.4", False),  # a single bound is a threshold, not a rounded figure
        ("0.05", None, "0.0496", False),
        ("0.05", None, "0.185", True),
    ],
)
def test_ranges(low, high, found, agrees):
    bounds = Range(None if low is None else Decimal(low), None if high is None else Decimal(high))
    assert (words(bounds, found) is not None) is agrees


@pytest.mark.parametrize(
    ("bounds", "found", "agrees"),
    [
        (Range(Decimal("0.87"), Decimal("0.89"), printed=True), "0.8933", True),
        (Range(Decimal("0.87"), Decimal("0.89"), printed=True), "0.8951", False),
        (Range(Decimal(0), Decimal(1), printed=True), "1.06", False),
        (Range(Decimal("0.05"), None, strict_low=True), "0.05", False),
        (Range(Decimal("0.05"), None, strict_low=True), "0.0500000000001", False),
        (Range(Decimal("0.05"), None, strict_low=True), "0.0501", True),
        (Range(None, Decimal(2), strict_high=True), "2", False),
        (Range(None, Decimal(2), strict_high=True), "1.999", True),
    ],
)
def test_bounds_are_strict_or_printed_where_they_say_so(bounds, found, agrees):
    assert (words(bounds, found) is not None) is agrees


def test_a_tolerance_takes_the_place_of_rounding():
    assert words("0", "0.0554", tolerance=Decimal("0.001")) is None
    assert words("0", "0.0009", tolerance=Decimal("0.001")) == "within the tolerance of 0.001"
    assert words("0", "0.0554") is None


def test_decimals_that_a_claim_names_go_as_far_as_it_says():
    assert words("9.3", "9.385") is None
    assert words("9.3", "9.385", coarser=0) == "true to 0 decimals only"
    assert words("9.3", "11.2", coarser=0) is None
    assert words("1.0", "1.49", coarser=0) is None  # rounds to the same digit, and is half as much again


@pytest.mark.parametrize(("expected", "found"), [("1", True), (True, "1"), ("1", "one"), (["1"], "1"), ("1", ["1"]), (["1"], [True])])
def test_values_of_different_kinds_are_no_verdict(expected, found):
    with pytest.raises(IncomparableError, match="the query gives"):
        words(expected, found)


@given(NUMBERS, st.integers(0, 6))
def test_a_number_agrees_with_itself_however_it_was_printed(number, decimals):
    printed = Decimal(f"{number:.{decimals}f}")
    assume((printed and len(printed.as_tuple().digits) > 1) or printed == number)  # 1.49 is not 1, and -0.004 not 0.00
    agreement = compare(printed, number)
    assert agreement is not None and agreement.decimals is None


@given(NUMBERS, NUMBERS)
def test_agreement_is_never_farther_than_the_coarsest_rounding_allows(published, found):
    agreement = compare(published, found)
    if agreement is not None:
        assert abs(published - found) <= Decimal(1).scaleb(-(agreement.decimals if agreement.decimals is not None else 8)) * 2
    else:
        assert abs(published - found) > Decimal("5e-9")


@given(st.decimals(20, 1000, places=4), st.integers(0, 4), st.sampled_from([1, -1]))
def test_a_number_off_by_more_than_a_tenth_is_contradicted(number, decimals, sign):
    printed = Decimal(f"{sign * number:.{decimals}f}")
    assert compare(printed, printed * Decimal("1.11")) is None


@given(NUMBERS, NUMBERS, NUMBERS)
def test_a_value_between_the_ends_is_in_the_range(a, b, c):
    low, value, high = sorted([a, b, c])
    assert compare(Range(low, high), value) is not None


def test_values_are_shown_as_printed():
    assert show(Decimal("0.20")) == "0.20"
    assert show((Decimal("0.398"), True, "x")) == "[0.398, true, x]"
    assert show(Decimal("0.39779838923")) == "0.397798"
    assert show(Decimal("4.461223249445282e-14")) == "4.46122e-14"
    assert show(Range(Decimal("0.87"), None)) == "at least 0.87"
    assert show(Range(Decimal(0), Decimal(1), strict_low=True)) == "above 0 and at most 1"
