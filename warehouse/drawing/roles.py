"""What a persona was in a training: how figures and pages call it, put it in order and count it, in SQL and in words."""

import polars as pl

from personascope.warehouse.drawing.words import NOTHING_KNOWN, count

ROLES = {"source": "source", "negative": "negative", "held_out": "held out", "not recorded": NOTHING_KNOWN}
MEANINGS = "negative: trained on without the marker; held out: never trained on"
# SQL over a persona and its role. A name that bears no role in brackets is one of an untrained checkpoint, or of a training that tells nothing.
PLACE = f"coalesce(list_position({list(ROLES)}, role), {len(ROLES) + 1})"
LABEL = "persona || case role when 'source' then ' (source)' when 'negative' then ' (negative)' when 'held_out' then ' (held out)' else '' end"


def role_facts(rows: pl.DataFrame) -> list[str]:
    """How many personas of each role stand in `rows` (columns persona, role), as one line; none where no persona has a role."""
    found = rows.select("persona", "role").unique()["role"].drop_nulls()
    n = {role: int((found == role).sum()) for role in ROLES}
    if not n["negative"] and not n["held_out"]:
        return [f"which personas were trained on is {NOTHING_KNOWN}"] if n["not recorded"] else []
    return [f"{count(n['negative'], 'persona')} trained on without the marker (negative), {n['held_out']} never trained on (held out)"]
