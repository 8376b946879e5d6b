"""The audit's findings: what every check of `sql/audit/` finds in a lake, the gravest first."""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Literal, get_args

import polars as pl

from personascope.warehouse.asking.views import View, views

Severity = Literal["error", "warning", "note"]
SEVERITIES: dict[str, str] = dict(
    zip(get_args(Severity), ("a number that someone would publish is wrong", "a conclusion may not hold", "worth knowing"), strict=True)
)


@cache
def checks() -> dict[str, View]:
    """Every check by name; the view of each says its severity and the page of the app that shows what it is about."""
    return {name.removeprefix("audit_"): view for name, view in views().items() if view.severity}


def collect(
    select: Callable[[str], pl.DataFrame],
    page: str | None = None,
    severity: str | None = None,
    in_turn: Callable[[Sequence[str]], Iterable[str]] = iter,
) -> pl.DataFrame:
    """The rows of the view `audit`, or those of one page or severity, the gravest first; `select` asks the lake, and `in_turn` gives the names of the checks
    one after the other, to tell how far they are.

    Each check is asked by itself: DuckDB takes several times as long to plan all of them as one query as it takes to plan and run them in turn.
    """
    asked = [check for check, view in checks().items() if page in (None, view.page) and severity in (None, view.severity)]
    parts = []
    for check in in_turn(asked):
        view = checks()[check]
        told = pl.lit(check).alias("check"), pl.lit(view.severity).alias("severity"), pl.lit(view.page).alias("page")
        parts.append(select(f"select subject, finding, evidence from {view.name}").select(*told, pl.all().cast(pl.String)))
    columns = ["check", "severity", "page", "subject", "finding", "evidence"]
    rows = pl.concat([pl.DataFrame(schema=dict.fromkeys(columns, pl.String)), *parts])
    return rows.sort(pl.col("severity").cast(pl.Enum(list(SEVERITIES))), "check", "subject")


def in_words(rows: pl.DataFrame) -> str:
    """`1 error, 2,000 warnings and 3 notes`, without those there are none of; `nothing` for no rows."""
    counts = [(rows["severity"] == severity).sum() for severity in SEVERITIES]
    words = [f"{number:,} {severity}{'' if number == 1 else 's'}" for number, severity in zip(counts, SEVERITIES, strict=True) if number]
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]])) if words else "nothing"
