"""What a claim's query rests on: whether it reads the lake at all, and which rows it looks at, told from its syntax and the documented grain of its views.

A condition says *which rows are meant* where it is about what names them: a column of the documented grain (or key) of the view or table it reads, one that
many others have in their grain, or a text or a stored attribute that is compared with literals. Every other condition (on a number or truth value that a view
computes, on a column that its header lists under `outcomes`) is *what is said of them*. Nothing can be said of rows there are none of.
"""

from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from typing import NamedTuple

from personascope.warehouse.asking.views import views
from personascope.warehouse.claims.syntax import (
    Node,
    aliases,
    below,
    columns,
    conjunction,
    conjuncts,
    is_aggregate,
    is_constant,
    is_summed,
    relations,
    sql_of,
    syntax,
)
from personascope.warehouse.store.schema import tables

COMMON = 3  # as many grains make a column's name that of what rows are about, wherever it stands
_DESCRIBED = ("checkpoints", "runs", "examples")  # tables whose columns describe what rows are about


class Population(NamedTuple):
    """Rows that a part of a query looks at: the query that counts them, its words, and what stands in the way of an answer where there are none.

    `of_a_filter`: the rows are picked out inside an aggregate, so that none of them may be the answer.
    """

    counting: str
    reads: tuple[str, ...]
    named: str
    of_a_filter: bool = False


def reads_the_lake(statement: Node, known: set[str]) -> bool:
    """Whether the query names a table or view, and its first column depends on one: on a column, a subquery, or a count of rows."""
    if not any(node.get("type") == "BASE_TABLE" and node["table_name"] in known for node in below(statement["node"])):
        return False
    first = next(iter(statement["node"].get("select_list", [])), None)
    if first is None:
        return True
    return any(node.get("class") in ("COLUMN_REF", "STAR", "SUBQUERY") or node.get("function_name") == "count_star" for node in below(first))


def whole(statement: Node) -> Population | None:
    """The rows that a query as a whole looks at; None for one that is not a single SELECT over something."""
    node = statement["node"]
    if node.get("type") != "SELECT_NODE" or node.get("from_table", {}).get("type") == "EMPTY":
        return None
    return _population(statement, node, [])


def populations(statement: Node) -> Iterator[Population]:
    """For every sum, count or subquery of a query, the rows it is over, those that its filters and joins pick out by name, and those on which its conditions on
    what came out are decided: NULL is neither above a bound nor below it."""
    for node, beside in _selects(statement["node"], []):
        yield _population(statement, node, beside)
        for condition in _name_filters(node):
            yield _population(statement, node, beside, [condition])
        for condition in _outcome_conditions(node):
            yield _population(statement, node, beside, [_is_decided(condition)])
        for joined in _joined_by_name(node):
            yield _population(statement, joined, beside)._replace(of_a_filter=True)
    for sought, where in _sought(statement["node"]):
        yield _population(statement, where, [], [sought])


def without_rows(statement: Node) -> str | None:
    """The query over none of its rows, where that gives a row: what it says of nothing, it does not say of the lake."""
    node, never = statement["node"], syntax("select 1 where false")
    if node.get("type") != "SELECT_NODE" or not is_summed(node) or never is None:
        return None
    return sql_of({**statement, "node": deepcopy(node) | {"where_clause": never["node"]["where_clause"], "having": None}})


def origins(population: Population) -> str:
    """The query that gives the origins of the rows a population counts; DuckDB refuses it where they have none."""
    return population.counting.replace("count_star()", "list(DISTINCT origin ORDER BY origin)", 1)


def _population(statement: Node, node: Node, beside: list[Node], further: list[Node] | None = None) -> Population:
    select, tables_beside = deepcopy((node | {"select_list": []}, beside))
    words = [each for part in below([select, *tables_beside]) if part.get("type") == "SELECT_NODE" for each in _keep_names(part)]
    if further:
        select["where_clause"] = conjunction([*conjuncts(select["where_clause"]), *deepcopy(further)])
        words += [_in_words(each) for each in further]
    count = _counting(statement, select, tables_beside)
    known = {*views(), *tables()}
    reads = tuple(dict.fromkeys(each["table_name"] for each in below([node.get("from_table"), beside]) if each.get("table_name") in known))
    return Population(count, reads, " and ".join(dict.fromkeys(words)), bool(further))


def _selects(node: object, beside: list[Node]) -> Iterator[tuple[Node, list[Node]]]:
    """Every SELECT that becomes one value (without groups, or inside an expression) with the common table expressions it may read."""
    if isinstance(node, list):
        for each in node:
            yield from _selects(each, beside)
    elif isinstance(node, dict):
        if node.get("class") == "SUBQUERY":
            inner = node["subquery"]["node"]
            if inner.get("type") == "SELECT_NODE" and not is_summed(inner):
                yield inner, beside
        if node.get("type") == "SELECT_NODE":
            here = node.get("cte_map", {}).get("map", [])
            for place, each in enumerate(here):
                yield from _selects(each["value"], [*beside, *here[:place]])
            beside = [*beside, *here]
            if is_summed(node):
                yield node, beside
            for key, value in node.items():
                if key != "cte_map":
                    yield from _selects(value, beside)
        else:
            for value in node.values():
                yield from _selects(value, beside)


def _keep_names(node: Node) -> list[str]:
    """Takes from a SELECT all conditions but those of its WHERE that say which rows are meant, and returns these in words."""
    read, near = relations(node.get("from_table")), aliases(node.get("from_table"))
    kept = [each for each in conjuncts(node.get("where_clause")) if _says_which(each, set(read.values())) and _is_local(each, near)]
    node["where_clause"] = conjunction(kept)
    node["having"] = node["qualify"] = None
    return [_in_words(each) for each in kept]


def _says_which(condition: Node, read: set[str]) -> bool:
    names = {each[-1] for each in columns(condition)}
    unnamed = {name for name in names if not _is_key(name, read)}
    if not unnamed:
        return True
    if any(_is_outcome(name, read) for name in unnamed):
        return False
    if _is_literal(condition) and not any(_is_computed(name, read) for name in unnamed):
        return True
    return all(_is_text_literal(each) for each in _alternatives(condition))


def _alternatives(condition: Node) -> list[Node]:
    return condition["children"] if condition.get("type") == "CONJUNCTION_OR" else [condition]


def _is_local(condition: Node, near: set[str]) -> bool:
    """Whether a condition can be asked without the query around it; what it compares with rows outside has a meaning there only."""
    inner = aliases([each.get("subquery") for each in below(condition) if each.get("class") == "SUBQUERY"])
    return all(each["column_names"][0] in near | inner for each in below(condition) if each.get("class") == "COLUMN_REF" and len(each["column_names"]) > 1)


def _is_key(name: str, read: set[str]) -> bool:
    return name in _common() or any(name in _grain(relation) for relation in read)


def _is_outcome(name: str, read: set[str]) -> bool:
    """Whether a column says how something came out: a view or table that is read says so, or, of a subquery or a view that only hands it on, any table."""
    told = [outcomes for relation in read for outcomes in _outcomes_of(relation)]
    return any(name in outcomes for outcomes in told) or (name in _outcomes() and not read & tables().keys())


def _outcomes_of(relation: str) -> list[tuple[str, ...]]:
    return [kind[relation].outcomes for kind in (views(),) if relation in kind] + [kind[relation].outcomes for kind in (tables(),) if relation in kind]


def _is_computed(name: str, read: set[str]) -> bool:
    """Whether a column is one that a view makes, so that its numbers are results: `n_layers = 28` says which checkpoint, `gate_a = 28` what came out."""
    return any(name in views()[relation].docs for relation in read & views().keys()) or not any(name in table.columns for table in tables().values())


@cache
def _grain(relation: str) -> frozenset[str]:
    if relation in views():
        return frozenset(part.strip() for part in views()[relation].grain.split(","))
    return frozenset(tables()[relation].key) if relation in tables() else frozenset()


@cache
def _common() -> frozenset[str]:
    counted = Counter(name for relation in {*views(), *tables()} for name in _grain(relation))
    described = {column for table in _DESCRIBED for column in tables()[table].columns}
    return frozenset(name for name, n in counted.items() if n >= COMMON or (n > 1 and name in described))


@cache
def _outcomes() -> frozenset[str]:
    named = [relation.outcomes for relation in tables().values()] + [view.outcomes for view in views().values()]
    return frozenset(column for outcomes in named for column in outcomes)


def _name_filters(node: Node) -> Iterator[Node]:
    """The conditions inside the aggregates of a SELECT that pick out rows by a name: in a FILTER, or in a CASE or a truth value that is summed."""
    read = set(relations(node.get("from_table")).values())
    for aggregate in (each for each in below(node.get("select_list", [])) if is_aggregate(each)):
        for each in below([*conjuncts(aggregate.get("filter")), aggregate.get("arguments", [])]):
            if _is_text_literal(each) and all(_is_key(name[-1], read) for name in columns(each)):
                yield each


def _outcome_conditions(node: Node) -> Iterator[Node]:
    """The conditions of a SELECT that are said of its rows, whether these are left out by WHERE, by a FILTER or by a CASE that is summed."""
    read, near = relations(node.get("from_table")), aliases(node.get("from_table"))
    aggregates = [each for each in below(node.get("select_list", [])) if is_aggregate(each)]
    said = conjunction([each for each in conjuncts(node.get("where_clause")) if not _says_which(each, set(read.values()))])
    found = [] if said is None else [said]
    found += [each["filter"] for each in aggregates if each.get("filter")]
    found += [check["when_expr"] for each in aggregates for part in below(each["arguments"]) for check in part.get("case_checks", [])]
    yield from (each for each in found if columns(each) and _is_local(each, near) and not any(map(is_aggregate, below(each))))


def _is_decided(condition: Node) -> Node:
    return {"class": "OPERATOR", "type": "OPERATOR_IS_NOT_NULL", "alias": "", "children": [condition]}


def _joined_by_name(node: Node) -> Iterator[Node]:
    """The SELECT with an inner join for each outer one whose condition picks rows out by a name: what it joins in vain, it says nothing of."""
    read = set(relations(node.get("from_table")).values())
    for place, join in enumerate(below(node.get("from_table"))):
        outer = join.get("type") == "JOIN" and join.get("join_type") in ("LEFT", "RIGHT", "OUTER", "FULL")
        if outer and any(_is_text_literal(each) and all(_is_key(name[-1], read) for name in columns(each)) for each in conjuncts(join.get("condition"))):
            changed = deepcopy(node)
            list(below(changed["from_table"]))[place]["join_type"] = "INNER"
            yield changed


def _sought(node: Node) -> Iterator[tuple[Node, Node]]:
    """For every name that is looked for in a subquery (`'poet' not in (select persona ...)`): the condition that a row bears it, and the subquery."""
    for each in below(node):
        inner = each["subquery"]["node"] if each.get("class") == "SUBQUERY" and is_constant(each.get("child") or {}) else {}
        chosen = inner.get("select_list", [])
        if len(chosen) == 1 and chosen[0].get("class") == "COLUMN_REF" and _is_key(chosen[0]["column_names"][-1], set(relations(inner["from_table"]).values())):
            yield {"class": "COMPARISON", "type": "COMPARE_EQUAL", "alias": "", "left": chosen[0], "right": each["child"]}, inner


def _counting(statement: Node, node: Node, beside: list[Node]) -> str:
    count = {
        **{"class": "FUNCTION", "type": "FUNCTION", "alias": "", "function_name": "count_star", "schema": "", "catalog": "", "arguments": []},
        **{"filter": None, "order_bys": {"type": "ORDER_MODIFIER", "orders": []}, "distinct": False, "is_operator": False, "export_state": False},
    }
    bare = {"select_list": [count], "modifiers": [], "having": None, "qualify": None, "sample": None, "group_expressions": [], "group_sets": []}
    own = [each for each in node.get("cte_map", {}).get("map", []) if each["key"] not in {one["key"] for one in beside}]
    return sql_of({**statement, "node": node | {**bare, "cte_map": {"map": [*beside, *own]}, "aggregate_handling": "STANDARD_HANDLING"}})


def _is_literal(condition: Node) -> bool:
    """Whether a condition says that a column is one of some literals."""
    if condition.get("type") == "CONJUNCTION_OR":
        return all(_is_literal(each) for each in condition["children"])
    sides = _sides(condition)
    found = [each for each in sides if each.get("class") == "COLUMN_REF"]
    return len(found) == 1 and len(found) + sum(map(is_constant, sides)) == len(sides)


def _is_text_literal(node: Node) -> bool:
    """Whether a node compares one column with text, in whatever case or by a pattern."""
    sides = _sides(node) or [each["expression"] for each in node.get("arguments", []) if node.get("is_operator") and "~" in node.get("function_name", "")]
    texts = [each for side in sides for each in below(side) if each.get("class") == "CONSTANT" and (each.get("literal") or {}).get("kind") == "STRING"]
    return len(columns(sides)) == 1 and bool(texts)


def _sides(condition: Node) -> list[Node]:
    if condition.get("type") == "COMPARE_EQUAL":
        return [condition["left"], condition["right"]]
    return condition["children"] if condition.get("type") == "COMPARE_IN" else []


def _in_words(condition: Node) -> str:
    if condition.get("type") == "CONJUNCTION_OR":
        return f"({' or '.join(map(_in_words, condition['children']))})"
    if not _is_literal(condition):
        return _as_sql(condition)
    sides = _sides(condition)
    column = next(each["column_names"][-1] for each in sides if each.get("class") == "COLUMN_REF")
    values = [_shown(each) for each in sides if is_constant(each)]
    return f"{column} = {values[0]}" if len(values) == 1 else f"{column} in ({', '.join(values)})"


def _as_sql(condition: Node) -> str:
    """A condition as DuckDB writes it."""
    statement = syntax("select 1")
    assert statement is not None
    statement["node"]["select_list"] = [condition]
    return sql_of(statement).removeprefix("SELECT ")


def _shown(node: Node) -> str:
    if node.get("class") == "CAST":
        return _shown(node["child"])
    literal = node.get("literal") or {}
    return repr(literal.get("text")) if literal.get("kind") == "STRING" else str(literal.get("text", "a constant"))
