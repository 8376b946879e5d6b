"""The intervals of a rate as figures show them: by question first, and Wilson's, which takes completions as independent, beside it under its name."""

import polars as pl

CLUSTERED, WILSON = "by question", "Wilson, completions as independent"
NONE = "none"


def both_intervals(rows: pl.DataFrame, *others: str) -> tuple[pl.DataFrame, list[str]]:
    """Rows of `marker_rates` with a `label`, once an interval with columns series, low and high, and the series in their order; `others` are kept.

    Without any interval by question there is Wilson's alone, and `interval_facts` says why.
    """
    kinds = {CLUSTERED: "clustered", WILSON: "wilson"}
    names = [name for name, kind in kinds.items() if name == WILSON or rows[f"{kind}_low"].count()]
    drawn = pl.concat(
        rows.select(
            *("label", pl.lit(name).alias("series"), "rate", pl.col(f"{kinds[name]}_low").alias("low"), pl.col(f"{kinds[name]}_high").alias("high"), *others)
        )
        for name in names
    )
    return drawn.filter(pl.col("low").is_not_null() | (pl.col("series") == WILSON)), names


def interval_facts(methods: pl.Series) -> str:
    """What the bars are, in a line, from the column `clustered_method` of the rates that are drawn."""
    found = set(methods.drop_nulls())
    parts = ["bar: 95% interval by question (Wilson's on effective completions, t over questions)"]
    if any("spread assumed" in method for method in found):
        parts.append("where no spread over questions is known an intraclass correlation of 0.15 is assumed")
    missing = sorted(method.removeprefix(f"{NONE}: ") for method in found if method.startswith(NONE))
    if missing:
        parts.append(f"none where {' or '.join(f'the {what} are not published' for what in sorted({each.split()[0] for each in missing}))}")
    return "; ".join(parts)
