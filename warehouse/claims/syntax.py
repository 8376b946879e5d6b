"""The syntax tree of a claim's query, as DuckDB itself parses it: what stands in it, and trees turned back into SQL."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import duckdb

Node = dict[str, Any]
ORDER_DEPENDENT = frozenset({"first", "last", "any_value", "arbitrary", "arg_min", "arg_max", "min_by", "max_by", "mode", "list", "array_agg", "string_agg"})
_OF_WINDOWS = frozenset({"row_number", "ntile", "lag", "lead", "first_value", "last_value", "nth_value", "cume_dist"})


def syntax(query: str) -> Node | None:
    """The tree of the one SELECT a query is; None for anything else, which the warehouse refuses in its own words."""
    with duckdb.connect() as connection:
        (text,) = connection.execute("select json_serialize_sql(?)", [query]).fetchone() or ("{}",)
    tree = json.loads(text)
    statements = tree.get("statements", [])
    return None if tree.get("error") or len(statements) != 1 else statements[0]


def sql_of(statement: Node) -> str:
    """The SQL of a tree."""
    document = {"error": False, "statements": [statement]}
    with duckdb.connect() as connection:
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


def depends_on_order(statement: Node) -> bool:
    """Whether a query has a part whose value may hang on the order in which rows come: such an aggregate, a window or a LIMIT."""
    for node in below(statement["node"]):
        if node.get("type") == "LIMIT_MODIFIER" or node.get("class") == "WINDOW":
            return True
        if node.get("class") == "FUNCTION" and node.get("function_name") in ORDER_DEPENDENT | _OF_WINDOWS:
            return True
    return False


@cache
def _aggregates() -> frozenset[str]:
    with duckdb.connect() as connection:
        rows = connection.execute("select distinct function_name from duckdb_functions() where function_type = 'aggregate'").fetchall()
    return frozenset(name for (name,) in rows)
