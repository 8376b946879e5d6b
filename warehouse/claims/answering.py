"""What the query of a claim gives: its value, what is said of it, and why it is none; a query that holds its own answer or none that decides is refused."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import polars as pl

from personascope.warehouse.asking.source import Asked
from personascope.warehouse.asking.views import quoted, views
from personascope.warehouse.claims.judging import Agreement, Expected, Found, IncomparableError, Range, compare, same, show
from personascope.warehouse.claims.nulls import expect_equivalence
from personascope.warehouse.claims.reading import Claim
from personascope.warehouse.claims.scope import Population, origins, populations, reads_the_lake, whole, without_rows
from personascope.warehouse.claims.syntax import Node, depends_on_order, draws_lots, sql_of, syntax, with_other_answer, without_rounding
from personascope.warehouse.errors import PersonascopeError, one_line
from personascope.warehouse.store.schema import tables

CANNOT_TELL = "cannot tell"


@dataclass(frozen=True)
class Answer:
    """What a query gives: the value of its first column (None where there is none, or it is over rows there are none of), and all that is said of it."""

    measured: str
    found: Found | None
    evidence: str
    agreement: Agreement | None = None
    nothing: str = ""
    n_rows: int | None = None
    mixed: str = ""
    undecided: str = ""


def answer_of(warehouse: Asked, claim: Claim, query: str, expected: Expected, model: str | None) -> Answer:
    """The answer of one query of a claim, held against the value it is expected to give; `model` is the checkpoint that stands for `$model`.

    Raises PersonascopeError for a query that fails, gives several rows, holds its own answer, draws lots, answers differently when its rows come in another
    order, or speaks of no change without a test of equivalence.
    """
    measured, found, evidence = _ask(warehouse, claim.id, query, model)
    if found is None:
        return Answer(measured, None, evidence)
    asked = with_model(query, model)
    statement = syntax(asked)
    found = _exact(warehouse, claim.id, statement, found)
    expected = claim.of(expected)
    empty = isinstance(expected, Range) and found == ()
    nothing = _over_nothing(warehouse, statement) or ("an element of the list that the query gives, which is empty" if empty else "")
    if nothing:
        return Answer(measured, None, evidence, nothing=nothing)
    agreement = _compare(claim, expected, found)
    if statement is not None:
        if not reads_the_lake(statement, {*views(), *tables()}) or _is_its_own_answer(warehouse, claim.id, statement, found):
            wrong = "the query's first column reads no table or view of the lake"
            raise PersonascopeError(f"claim {claim.id!r}: {wrong}; expected a measurement, not its own answer")
        if draws_lots(statement):
            raise PersonascopeError(f"claim {claim.id!r}: the query draws at random, so that it gives another value each time; expected one that decides")
        if claim.kind == "null":
            expect_equivalence(claim.id, statement)
        if depends_on_order(statement):
            _expect_one_answer(warehouse, claim, query, model, found)
    if claim.kind == "null" and isinstance(found, str) and found != expected and found == CANNOT_TELL:
        n_rows, mixed = _looked_at(warehouse, statement)
        return Answer(measured, None, evidence, n_rows=n_rows, mixed=mixed, undecided="cannot tell: the intervals leave open whether it moved")
    if agreement is not None and (filtered := _over_nothing(warehouse, statement, of_filters=True)):
        return Answer(measured, None, evidence, nothing=filtered)
    n_rows, mixed = _looked_at(warehouse, statement)
    return Answer(measured, found, evidence, agreement, "", n_rows, mixed)


def _is_its_own_answer(warehouse: Asked, name: str, statement: Node, found: Found) -> bool:
    """Whether a value comes out the same without a single row, or as another where a literal of the query is another; a 0 is what a count gives by right."""
    if isinstance(found, (bool, tuple)) or not found:
        return False
    query = without_rows(statement) if isinstance(found, Decimal) else None
    value = None if query is None else _ask_quietly(warehouse, query)
    if value is not None and same(_found(name, value) or Decimal(0), found):
        return True
    other = found + 1 if isinstance(found, Decimal) else f"{found} or not"
    changed = with_other_answer(statement, found, str(other))
    value = None if changed is None else _ask_quietly(warehouse, sql_of(changed))
    return value is not None and same(_found(name, value) or Decimal(0), other)


def _exact(warehouse: Asked, name: str, statement: Node | None, found: Found) -> Found:
    """A value before the query rounds it: to how many digits it is held against the published one is no matter of the query."""
    exact = None if statement is None else without_rounding(statement)
    if exact is None or exact == statement:
        return found
    value = _found(name, _ask_quietly(warehouse, sql_of(exact)))
    return value if value is not None and _are_numbers(value) and _are_numbers(found) else found


def _are_numbers(value: Found) -> bool:
    return all(isinstance(each, Decimal) for each in (value if isinstance(value, tuple) else (value,)))


def _expect_one_answer(warehouse: Asked, claim: Claim, query: str, model: str | None, found: Found) -> None:
    """Refuses a query whose value hangs on the order in which its rows happen to come: asked again of the rows from behind and with other threads."""
    try:
        _, again, _ = _ask(warehouse.reversed(), claim.id, query, model)
    except PersonascopeError:  # sorting every row took longer than a query may
        return
    if again is None or not same(found, again):
        said = "nothing" if again is None else show(again)
        raise PersonascopeError(
            f"claim {claim.id!r}: the query gives {show(found)}, and {said} when the same rows come in another order; expected an order by that decides"
        )


def _looked_at(warehouse: Asked, statement: Node | None) -> tuple[int | None, str]:
    """The number of rows a query looked at, and the origins it mixes in words, empty where it keeps to one."""
    population = whole(statement) if statement else None
    if population is None:
        return None, ""
    n_rows = _ask_quietly(warehouse, population.counting)
    found = _ask_quietly(warehouse, origins(population))
    mixed = sorted(each for each in found if each) if isinstance(found, (list, pl.Series)) else []
    return n_rows, f"mixes {' and '.join(mixed)} rows" if len(mixed) > 1 else ""


def _ask_quietly(warehouse: Asked, query: str) -> Any:
    """The one value of a query that the engine made of a claim's; None where it makes no sense by itself."""
    try:
        rows = warehouse.select(query)
    except PersonascopeError:
        return None
    return rows.row(0)[0] if rows.height else None


def with_model(query: str, model: str | None) -> str:
    """The query with the name of the model in place of `$model`: what can be pasted into a shell."""
    return query if model is None else query.replace("$model", quoted(model))


def _over_nothing(warehouse: Asked, statement: Node | None, of_filters: bool = False) -> str:
    """The rows that the query's sums and counts are over, where there are none of them, else empty: nothing is true of nothing."""
    for population in populations(statement) if statement else ():
        if population.of_a_filter == of_filters and _ask_quietly(warehouse, population.counting) == 0:
            return f"rows of {_in_turn(population)}{f' with {population.named}' if population.named else ''}"
    return ""


def _in_turn(population: Population) -> str:
    return ", ".join(population.reads) or "what the query selects from"


def _compare(claim: Claim, expected: Expected, found: Found) -> Agreement | None:
    try:
        return compare(expected, found, claim.distance(expected), claim.coarser)
    except IncomparableError as error:
        raise PersonascopeError(f"claim {claim.id!r}: {error}") from error


def _ask(warehouse: Asked, name: str, query: str, model: str | None) -> tuple[str, Found | None, str]:
    """Name and value of the first column of the one row a query gives, None where it gives no row or NULL, and its further columns in words."""
    try:
        rows = warehouse.select(with_model(query, model))
    except PersonascopeError as error:
        raise PersonascopeError(f"claim {name!r}: {one_line(error)}") from error
    if rows.height > 1:
        raise PersonascopeError(f"claim {name!r}: the query gives {rows.height} rows, expected one")
    measured = rows.columns[0].replace("_", " ")
    if rows.is_empty():
        return measured, None, ""
    first, *further = rows.row(0)
    return measured, _found(name, first), ", ".join(_evidence(rows.columns[1:], further))


def _evidence(names: list[str], values: list[Any]) -> Iterator[str]:
    for name, value in zip(names, values, strict=True):
        if value is not None:
            yield f"{name.replace('_', ' ')} {_in_words(value)}"


def _in_words(value: Any) -> str:
    if isinstance(value, (list, tuple, pl.Series)):
        return f"[{', '.join(map(_in_words, value))}]"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _found(name: str, value: Any) -> Found | None:
    """A value of the query; None for NULL, for a number that is not finite, and for a list that holds either."""
    if isinstance(value, (list, tuple, pl.Series)):
        elements = [_found(name, each) for each in value]
        if any(isinstance(each, tuple) for each in elements):
            raise PersonascopeError(f"claim {name!r}: the query gives a list of lists; expected a number, text, true or false, or a list of these")
        kept = tuple(each for each in elements if each is not None and not isinstance(each, tuple))
        return kept if len(kept) == len(elements) else None
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, float, Decimal)):
        whole = isinstance(value, float) and value.is_integer()
        number = Decimal(int(value)) if whole else Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
        return number if number.is_finite() else None
    raise PersonascopeError(f"claim {name!r}: the query gives {type(value).__name__} ({value}); expected a number, text, true or false, or a list of these")
