"""The syntax tree of a claim's query, as DuckDB itself parses it: what stands in it, and trees turned back into SQL."""

import json
from collections.abc import Iterator
from copy import deepcopy
from decimal import Decimal
from functools import cache
from typing import Any

from personascope.warehouse.store.engine import kept

Node = dict[str, Any]
ORDER_DEPENDENT = frozenset({"first", "last", "any_value", "arbitrary", "arg_min", "arg_max", "min_by", "max_by", "mode", "list", "array_agg", "string_agg"})
_LOTS = frozenset({"random", "setseed", "uuid", "uuidv4", "uuidv7", "gen_random_uuid"})
_WHOLE = frozenset({"INTEGER", "INT", "BIGINT", "SMALLINT", "TINYINT", "HUGEINT", "UINTEGER", "UBIGINT", "USMALLINT", "UTINYINT", "UHUGEINT"})
_OF_WINDOWS = frozenset({"row_number", "ntile", "lag", "lead", "first_value", "last_value", "nth_value", "cume_dist"})


def syntax(query: str) -> Node | None:
    """The tree of the one SELECT a query is; None for anything else, which the warehouse refuses in its own words."""
    with kept() as connection:
        (text,) = connection.execute("select json_serialize_sql(?)", [query]).fetchone() or ("{}",)
    tree = json.loads(text)
    statements = tree.get("statements", [])
    return None if tree.get("error") or len(statements) != 1 else statements[0]


def sql_of(statement: Node) -> str:
    """The SQL of a tree."""
    document = {"error": False, "statements": [statement]}
    with kept() as connection:
        (text,) = connection.execute("select json_deserialize_sql(?::json)", [json.dumps(document)]).fetchone() or ("",)
    return str(text)


def below(node: Any) -> Iterator[Node]:
    """A node and all that stand in it."""
    if isinstance(node, dict):
        yield node
    for each in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from below(each)


def conjuncts(condition: Node | None) -> Iterator[Node]:
    """The conditions that are joined by AND."""
    if condition is None:
        return
    if condition.get("type") == "CONJUNCTION_AND":
        for each in condition["children"]:
            yield from conjuncts(each)
    else:
        yield condition


def conjunction(conditions: list[Node]) -> Node | None:
    """The conditions joined by AND; None for none."""
    whole = {"class": "CONJUNCTION", "type": "CONJUNCTION_AND", "alias": "", "children": conditions}
    return None if not conditions else conditions[0] if len(conditions) == 1 else whole


def columns(node: Any) -> list[list[str]]:
    """The columns that a condition speaks of, each with the name of its relation before it where it has one; those of subqueries aside."""
    if isinstance(node, dict):
        if node.get("class") == "SUBQUERY":
            return columns(node.get("child"))
        if node.get("class") == "COLUMN_REF":
            return [node["column_names"]]
    return [each for part in (node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()) for each in columns(part)]


def relations(node: Any) -> dict[str, str]:
    """The tables, views and common table expressions that stand in a FROM, subqueries included, by the name they have there."""
    return {each["alias"] or each["table_name"]: each["table_name"] for each in below(node) if each.get("type") == "BASE_TABLE"}


def aliases(node: Any) -> set[str]:
    """All names by which the columns of a FROM may be qualified."""
    return {*relations(node), *relations(node).values(), *(each["alias"] for each in below(node) if each.get("type") == "SUBQUERY" and each.get("alias"))}


def is_constant(node: Node) -> bool:
    return node.get("class") == "CONSTANT" or (node.get("class") == "CAST" and is_constant(node["child"]))


def is_aggregate(node: Node) -> bool:
    return node.get("class") == "FUNCTION" and node.get("function_name") in _aggregates()


def is_summed(node: Node) -> bool:
    """Whether a SELECT becomes one row, by aggregates without groups."""
    return not node.get("group_expressions") and any(is_aggregate(each) for each in below(node.get("select_list", [])))


def draws_lots(statement: Node) -> bool:
    """Whether a query takes a sample of its rows or calls a function that gives another value each time."""
    return any(node.get("sample") or node.get("function_name") in _LOTS for node in below(statement["node"]))


def depends_on_order(statement: Node) -> bool:
    """Whether a query has a part whose value may hang on the order in which rows come: such an aggregate, a window, a LIMIT or a DISTINCT ON."""
    for node in below(statement["node"]):
        if node.get("type") in ("LIMIT_MODIFIER", "LIMIT_PERCENT_MODIFIER") or node.get("class") == "WINDOW" or node.get("distinct_on_targets"):
            return True
        if node.get("class") == "FUNCTION" and node.get("function_name") in ORDER_DEPENDENT | _OF_WINDOWS:
            return True
    return False


def without_rounding(statement: Node) -> Node:
    """The query with what its first column rounds as it was before: `round(x, 1)` and `x::int` become x, also in a list."""
    statement = deepcopy(statement)
    chosen = statement["node"].get("select_list", [])
    if chosen:
        chosen[0] = _unrounded(chosen[0]) | {"alias": chosen[0].get("alias", "")}
    return statement


def _unrounded(node: Node) -> Node:
    name = node.get("function_name")
    if node.get("class") == "FUNCTION" and name in ("round", "round_even"):
        return _unrounded(node["arguments"][0]["expression"])
    if node.get("class") == "CAST" and node.get("type_expr", {}).get("type_name") in _WHOLE:
        return _unrounded(node["child"])
    if name == "list_value":
        return node | {"arguments": [each | {"expression": _unrounded(each["expression"])} for each in node["arguments"]]}
    return node


def with_other_answer(statement: Node, answer: Decimal | str, other: str) -> Node | None:
    """The query with `other` for the literals of that value wherever they are handed on as they stand; None where it has no such literal.

    They are through aggregates, casts, CASE, coalesce and subqueries, not through arithmetic, conditions or a CASE that may also give something else.
    """
    changed, found = deepcopy(statement), False
    for select in below(changed["node"]):
        for each in select.get("select_list", []) if select.get("type") == "SELECT_NODE" else ():
            for literal in _handed_on(each):
                if _value(literal) == answer:
                    literal["text"], found = other, True
    return changed if found else None


def _value(literal: Node) -> Decimal | str | None:
    if literal.get("kind") in ("NUMERIC", "INTEGER"):
        return Decimal(literal["text"])
    return str(literal["text"]) if literal.get("kind") == "STRING" else None


def _handed_on(node: Node) -> Iterator[Node]:
    """The literals that an expression may give as they stand."""
    if node.get("class") == "CONSTANT" and node.get("literal"):
        yield node["literal"]
    elif node.get("class") == "CAST":
        yield from _handed_on(node["child"])
    elif node.get("class") == "CASE":
        results = [*(each["then_expr"] for each in node["case_checks"]), node["else_expr"]]
        given = [list(_handed_on(each)) for each in results if (each.get("literal") or {}).get("kind") != "NULL_LITERAL"]
        if all(given) and len({_value(literal) for each in given for literal in each}) == 1:
            for each in given:
                yield from each
    elif node.get("class") == "OPERATOR" and node.get("type") == "OPERATOR_COALESCE":
        for each in node["children"]:
            yield from _handed_on(each)
    elif node.get("class") == "FUNCTION" and not node.get("is_operator"):
        for each in node["arguments"]:
            yield from _handed_on(each["expression"])


@cache
def _aggregates() -> frozenset[str]:
    with kept() as connection:
        rows = connection.execute("select distinct function_name from duckdb_functions() where function_type = 'aggregate'").fetchall()
    return frozenset(name for (name,) in rows)
