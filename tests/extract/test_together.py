"""Several pieces of work side by side: who is driven when, whose error goes where, and what becomes of them when one ends all."""

from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from personascope.extract.hands import Part, alone
from personascope.extract.together import Tally, together


class Numbers:
    """In place of an extractor: the rows of a part are its items, and `calls` says which parts were computed together."""

    calls: ClassVar[list[list[Any]]] = []

    def rows_of(self, items: Any) -> Any:
        return {"rows": [item.value for item in items]}

    @classmethod
    def rows_together(cls, parts: Any) -> Any:
        cls.calls.append([part.items[0].value for part in parts])
        return [ValueError("wrong") if part.items[0].value == "wrong" else part.rows() for part in parts]


def work(*values: Any) -> Any:
    """Asks for one part a value, and returns what it got; an error as its text."""
    got = []
    for value in values:
        try:
            rows = yield Part(Numbers(), [SimpleNamespace(value=value, weight=2)])  # type: ignore[arg-type, list-item]
        except ValueError as error:
            return str(error)
        got += rows["rows"]
    return got


@pytest.fixture(autouse=True)
def _no_calls():
    Numbers.calls = []


def test_work_by_itself_and_beside_others_gets_the_same_and_the_next_begins_when_one_ends():
    works = {"a": "123", "b": "4", "c": "", "d": "56", "e": "7"}
    expected = {key: alone(work(*values)) for key, values in works.items()}
    tally = Tally()
    assert dict(together(((key, work(*values)) for key, values in works.items()), 2, tally)) == expected
    assert Numbers.calls == [["1", "4"], ["2", "5"], ["3", "6"], ["7"]] and tally.items == 14


def test_what_a_part_raises_is_raised_in_its_own_work():
    assert dict(together([("a", work(1, "wrong", 3)), ("b", work(4, 5, 6))], 2)) == {"a": "wrong", "b": [4, 5, 6]}


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_a_work_lets_out_ends_the_others_with_it(error):
    ended = []

    def watched() -> Any:
        try:
            yield from work(*range(9))
        except BaseException as found:
            ended.append(type(found))
            raise

    def failing() -> Any:
        yield from work(1)
        raise error

    with pytest.raises(error):
        list(together([("a", watched()), ("b", failing()), ("c", watched())], 3))
    assert ended == [error, error]


def test_a_caller_that_turns_away_ends_all():
    ended = []

    def watched() -> Any:
        try:
            yield from work(*range(9))
        finally:
            ended.append(True)

    outcomes = together([("a", watched()), ("b", work(1))], 2)
    assert next(outcomes) == ("b", [1])
    outcomes.close()  # type: ignore[attr-defined]
    assert ended == [True]
