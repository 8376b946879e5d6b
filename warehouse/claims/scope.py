"""What a claim's query rests on: whether it reads the lake at all, and the rows its sums and counts are taken over, told from DuckDB's own syntax tree."""

import json
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from typing import Any

import duckdb

Node = dict[str, Any]

OUTCOMES = frozenset({"regime", "verdict", "direction", "place", "finish_reason", "present", "complete", "positive", "success", "degeneration", "passed"})
"""Columns that say how something came out: `regime = 'clean'` asks what is true of the rows, while `source = 'villain'` says of which rows."""


def syntax(query: str) -> Node | None:
    """The tree of the one SELECT a query is; None for anything else, which the warehouse refuses in its own words."""
    with duckdb.connect() as connection:
        (text,) = connection.execute("select json_serialize_sql(?)", [query]).fetchone() or ("{}",)
    tree = json.loads(text)
    statements = tree.get("statements", [])
    return None if tree.get("error") or len(statements) != 1 else statements[0]


def reads_the_lake(statement: Node, known: set[str]) -> bool:
    """Whether the query names a table or view, and its first column depends on one."""
    if not any(node.get("type") == "BASE_TABLE" and node["table_name"] in known for node in _below(statement["node"])):
        return False
    first = next(iter(statement["node"].get("select_list", [])), None)
    return first is None or any(node.get("class") in ("COLUMN_REF", "STAR", "SUBQUERY") or _is_aggregate(node) for node in _below(first))


def populations(statement: Node) -> Iterator[tuple[str, str]]:
    """For every sum, count or subquery over rows that literals pick out: a query that counts these rows, and the literals' conditions in words.

    What else a WHERE asks (a comparison, a pattern, an outcome) is left out: that is what is said of the rows, not which rows they are.
    """
    for node, tables in _selects(statement["node"], []):
        select, beside = deepcopy((node | {"select_list": []}, tables))
        named = [words for each in _below([select, *beside]) if each.get("type") == "SELECT_NODE" for words in _keep_literals(each)]
        if named:
            yield _counting(statement, select, beside), " and ".join(dict.fromkeys(named))


def _selects(node: Any, tables: list[Node]) -> Iterator[tuple[Node, list[Node]]]:
    """Every SELECT that becomes one value (without groups, or inside an expression) with the common table expressions it may read."""
    if isinstance(node, list):
        for each in node:
            yield from _selects(each, tables)
    elif isinstance(node, dict):
        if node.get("class") == "SUBQUERY":
            inner = node["subquery"]["node"]
            if inner.get("type") == "SELECT_NODE" and not _summed(inner):
                yield inner, tables
        if node.get("type") == "SELECT_NODE":
            here = node.get("cte_map", {}).get("map", [])
            for place, each in enumerate(here):
                yield from _selects(each["value"], [*tables, *here[:place]])
            tables = [*tables, *here]
            if _summed(node):
                yield node, tables
            for key, value in node.items():
                if key != "cte_map":
                    yield from _selects(value, tables)
        else:
            for value in node.values():
                yield from _selects(value, tables)


def _summed(node: Node) -> bool:
    return not node.get("group_expressions") and any(_is_aggregate(each) for each in _below(node.get("select_list", [])))


def _keep_literals(node: Node) -> list[str]:
    """Takes from a SELECT all conditions but those of its WHERE that compare a column with literals, and returns these in words."""
    conditions = [each for each in _conjuncts(node.get("where_clause")) if _is_literal(each)]
    whole = {"class": "CONJUNCTION", "type": "CONJUNCTION_AND", "alias": "", "children": conditions}
    node["where_clause"] = None if not conditions else conditions[0] if len(conditions) == 1 else whole
    node["having"] = node["qualify"] = None
    return [_in_words(each) for each in conditions]


def _counting(statement: Node, node: Node, tables: list[Node]) -> str:
    count = {
        **{"class": "FUNCTION", "type": "FUNCTION", "alias": "", "function_name": "count_star", "schema": "", "catalog": "", "arguments": []},
        **{"filter": None, "order_bys": {"type": "ORDER_MODIFIER", "orders": []}, "distinct": False, "is_operator": False, "export_state": False},
    }
    bare = {"select_list": [count], "modifiers": [], "having": None, "qualify": None, "sample": None, "group_expressions": [], "group_sets": []}
    node |= {**bare, "cte_map": {"map": tables}, "aggregate_handling": "STANDARD_HANDLING"}
    document = {"error": False, "statements": [{**statement, "node": node}]}
    with duckdb.connect() as connection:
        (text,) = connection.execute("select json_deserialize_sql(?::json)", [json.dumps(document)]).fetchone() or ("",)
    return str(text)


def _conjuncts(condition: Node | None) -> Iterator[Node]:
    if condition is None:
        return
    if condition.get("type") == "CONJUNCTION_AND":
        for each in condition["children"]:
            yield from _conjuncts(each)
    else:
        yield condition


def _is_literal(condition: Node) -> bool:
    """Whether a condition says that a column, other than an outcome, is one of some literals."""
    if condition.get("type") == "CONJUNCTION_OR":
        return all(_is_literal(each) for each in condition["children"])
    if condition.get("type") == "COMPARE_EQUAL":
        sides = [condition["left"], condition["right"]]
    elif condition.get("type") == "COMPARE_IN":
        sides = condition["children"]
    else:
        return False
    columns = [each for each in sides if each.get("class") == "COLUMN_REF"]
    return len(columns) == 1 and columns[0]["column_names"][-1] not in OUTCOMES and len(columns) + sum(map(_is_constant, sides)) == len(sides)


def _is_constant(node: Node) -> bool:
    return node.get("class") == "CONSTANT" or (node.get("class") == "CAST" and _is_constant(node["child"]))


def _in_words(condition: Node) -> str:
    if condition.get("type") == "CONJUNCTION_OR":
        return f"({' or '.join(map(_in_words, condition['children']))})"
    sides = [condition["left"], condition["right"]] if condition.get("type") == "COMPARE_EQUAL" else condition["children"]
    column = next(each["column_names"][-1] for each in sides if each.get("class") == "COLUMN_REF")
    values = [_shown(each) for each in sides if _is_constant(each)]
    return f"{column} = {values[0]}" if len(values) == 1 else f"{column} in ({', '.join(values)})"


def _shown(node: Node) -> str:
    if node.get("class") == "CAST":
        return _shown(node["child"])
    literal = node.get("literal") or {}
    return repr(literal.get("text")) if literal.get("kind") == "STRING" else str(literal.get("text", "a constant"))


def _below(node: Any) -> Iterator[Node]:
    """A node and all that stand in it."""
    if isinstance(node, dict):
        yield node
    for each in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _below(each)


def _is_aggregate(node: Node) -> bool:
    return node.get("class") == "FUNCTION" and node.get("function_name") in _aggregates()


@cache
def _aggregates() -> frozenset[str]:
    with duckdb.connect() as connection:
        rows = connection.execute("select distinct function_name from duckdb_functions() where function_type = 'aggregate'").fetchall()
    return frozenset(name for (name,) in rows)
