"""Which figures stand in a report: at most twelve, by a rule that the report says; the others lie in a folder beside it."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import polars as pl

from personascope.warehouse.claims.reading import Claim
from personascope.warehouse.drawing.charts import Drawing
from personascope.warehouse.store.engine import kept
from personascope.warehouse.store.manifest import Manifest

MOST, MOST_REFUSED = 12, 3
RULE = (
    f"At most {MOST} figures stand here. First, of each kind of figure that the study names, the one with the largest effect; then up to {MOST_REFUSED} "
    "whose test was refused; then those that the study's claims speak of (a claim asks a view that the figure shows, for values that it draws), those of "
    "most claims first; then the largest effects, one kind after another. An effect is the largest absolute value that a figure draws (of a cosine: how far "
    "it lies from 1), in its own unit, so that only figures of one kind are compared by it."
)


@dataclass(frozen=True)
class Candidate:
    """A figure that might stand in the report, of a kind: the name of its module; `shows` and `effects` are those of the module."""

    kind: str
    drawing: Drawing
    shows: frozenset[str]
    effects: tuple[pl.Expr, ...]

    @property
    def effect(self) -> float:
        """How large what it draws is, in its own unit; -1 where nothing says it."""
        rows = self.drawing.rows
        of = next((each for each in self.effects if set(each.meta.root_names()) <= set(rows.columns)), None)
        found = None if of is None else rows.select(of.cast(pl.Float64)).item()
        return -1.0 if found is None or math.isnan(found) else found

    @property
    def is_refused(self) -> bool:
        """Whether a test that it draws was refused."""
        rows = self.drawing.rows
        return "refused" in rows.columns and bool(rows["refused"].fill_null(False).any())


@dataclass(frozen=True)
class Asked:
    """What a query asks: the views and tables it reads, and by column the values that it compares it with (as text)."""

    views: frozenset[str]
    values: Mapping[str, frozenset[str]]


def choose(candidates: Sequence[Candidate], claims: Sequence[Claim], runs: Mapping[str, Manifest]) -> list[int]:
    """The places of the chosen figures among the candidates, in the order of the candidates, by RULE; the same candidates give the same choice.

    `runs` are the manifests of what they draw: a claim that names its checkpoint or origin speaks of figures of such runs alone.
    """
    asked = [asks(claim.query) for claim in claims]
    places = range(len(candidates))
    effects, n_claims = [each.effect for each in candidates], [_claims_of(each, asked, runs) for each in candidates]
    by_kind: dict[str, list[int]] = {}
    for place in sorted(places, key=lambda place: (-effects[place], place)):
        by_kind.setdefault(candidates[place].kind, []).append(place)
    kinds = [by_kind[kind] for kind in dict.fromkeys(each.kind for each in candidates)]
    turn = {place: (rank, number) for number, found in enumerate(kinds) for rank, place in enumerate(found)}
    in_turn = sorted(places, key=turn.__getitem__)
    refused = [place for place in in_turn if candidates[place].is_refused]
    chosen = dict.fromkeys([*(found[0] for found in kinds), *refused[:MOST_REFUSED]])
    chosen |= dict.fromkeys(sorted((place for place in in_turn if n_claims[place]), key=lambda place: -n_claims[place]))
    return sorted(list(chosen | dict.fromkeys(in_turn))[:MOST])


def asks(query: str) -> Asked:
    """What a SELECT reads and asks for; nothing where it is none."""
    with kept() as connection:
        row = connection.execute("select json_serialize_sql($query)", {"query": query}).fetchone()
    tree = json.loads(row[0]) if row else {}
    views: set[str] = set()
    values: dict[str, set[str]] = {}
    for node in _nodes(tree):
        if node.get("type") == "BASE_TABLE":
            views.add(str(node["table_name"]))
        for column, value in _COMPARED.get(str(node.get("type")), lambda _: [])(node):
            values.setdefault(column, set()).add(value)
    return Asked(frozenset(views), {column: frozenset(found) for column, found in values.items()})


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
    for each in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _nodes(each)


def _compared(sides: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """A column and the constants beside it."""
    columns = [str(side["column_names"][-1]) for side in sides if side.get("class") == "COLUMN_REF"]
    constants = [_text(side["literal"].get("text")) for side in sides if side.get("class") == "CONSTANT" and isinstance(side.get("literal"), dict)]
    return [(columns[0], value) for value in constants] if len(columns) == 1 else []


_COMPARED: dict[str, Callable[[dict[str, Any]], list[tuple[str, str]]]] = {
    "COMPARE_EQUAL": lambda node: _compared([node["left"], node["right"]]),
    "COMPARE_NOT_DISTINCT_FROM": lambda node: _compared([node["left"], node["right"]]),
    "COMPARE_IN": lambda node: _compared(node.get("children", [])),
}


def _claims_of(candidate: Candidate, asked: Sequence[Asked], runs: Mapping[str, Manifest]) -> int:
    """How many queries ask a view that the figure shows, for values of which it draws one a column."""
    rows = candidate.drawing.rows
    made = [runs[run_id] for run_id in candidate.drawing.runs if run_id in runs]
    known = {"origin": {"published" if run.kind == "ingest" else "extracted" for run in made}} if made else {}
    for name in ("checkpoint", "subject"):
        known[name] = {str(value) for run in made if (value := getattr(run, name)) is not None}

    def holds(column: str, values: frozenset[str]) -> bool:
        if column in rows.columns:
            return not values.isdisjoint(_text(value) for value in rows[column].unique().to_list())
        return not known.get(column) or not values.isdisjoint(known[column])

    return sum(bool(each.views & candidate.shows) and all(holds(*pair) for pair in each.values.items()) for each in asked)


def _text(value: object) -> str:
    """A value as it is compared: numbers that are equal are the same text, whole or not."""
    try:
        return str(Decimal(str(value)).normalize())
    except InvalidOperation:
        return str(value)
