"""What a sentence of the kind "it did not move" must be asked by: a test of equivalence, since an effect that was not found is no proof of none."""

import re

from personascope.warehouse.asking.views import views
from personascope.warehouse.claims.syntax import Node, below, columns, relations
from personascope.warehouse.errors import PersonascopeError

_ENDS = (re.compile(r"(^|_)(ci_)?low$|_low(_|$)"), re.compile(r"(^|_)(ci_)?high$|_high(_|$)"))
_COMPARED = ("COMPARE_EQUAL", "COMPARE_NOTEQUAL", "COMPARE_IN", "COMPARE_NOT_IN", "COMPARE_DISTINCT_FROM", "COMPARE_NOT_DISTINCT_FROM")
_OPEN = "cannot tell"
_WORD = "equivalent"  # of the columns whose documentation says that they tell equivalence apart


def expect_equivalence(name: str, statement: Node) -> None:
    """Refuses a query that reads neither a verdict of equivalence nor both ends of an interval held against a margin; `name` is the claim's."""
    read = {*relations(statement["node"]).values()} & views().keys()
    named = {each[-1] for each in _all_columns(statement["node"])}
    telling = {column for view in read for column in named if _WORD in views()[view].doc(column)}
    if telling:
        _expect_told_apart(name, statement, telling)
        return
    if all(any(end.search(column) for column in named) for end in _ENDS) and _holds_against_a_margin(statement) and not _either_end(statement):
        return
    raise PersonascopeError(
        f"claim {name!r}: a claim of kind null asks for equivalence; expected a query of a column that tells moved, equivalent and cannot tell apart, "
        "or of both ends of an interval held against a margin"
    )


def _expect_told_apart(name: str, statement: Node, telling: set[str]) -> None:
    """Refuses conditions under which an interval that leaves the question open passes for no change: on anything but the word `equivalent`."""
    compared = [
        {(each.get("literal") or {}).get("text") for each in below(node) if each.get("class") == "CONSTANT"} - {None}
        for node in below(statement["node"])
        if node.get("type") in _COMPARED and any(column[-1] in telling for column in columns(node))
    ]
    words = set().union(*compared)
    if words and (_WORD not in words or _OPEN in words):
        raise PersonascopeError(
            f"claim {name!r}: a condition on {', '.join(sorted(map(repr, map(str, words))))} lets through what the intervals leave open; "
            f"expected one on {_WORD!r}, such as count(*) filter ({min(telling)} <> '{_WORD}')"
        )


def _either_end(statement: Node) -> bool:
    """Whether one end of an interval is enough: two conditions on its ends that are joined by OR."""
    return any(
        node.get("type") == "CONJUNCTION_OR" and any(end.search(column[-1]) for each in node["children"] for column in columns(each) for end in _ENDS)
        for node in below(statement["node"])
    )


def _all_columns(node: Node) -> list[list[str]]:
    return [each["column_names"] for each in below(node) if each.get("class") == "COLUMN_REF"]


def _holds_against_a_margin(statement: Node) -> bool:
    """Whether an end of an interval is compared with a number other than 0, or with a margin by name."""
    for node in below(statement["node"]):
        if node.get("class") in ("COMPARISON", "BETWEEN") and any(end.search(column[-1]) for column in columns(node) for end in _ENDS):
            numbers = [each.get("literal") or {} for each in below(node) if each.get("class") == "CONSTANT"]
            if any(float(each["text"]) for each in numbers if each.get("kind") in ("NUMERIC", "INTEGER")):
                return True
            if any("margin" in column[-1] for column in columns(node)) or "margin" in str(node):
                return True
    return False
