"""Where an activation was read or changed, in words: strata, sites and what else a place is made of."""

import polars as pl

from personascope.warehouse.drawing.words import CONTROLS, NOTHING_KNOWN

WORDS = {
    **CONTROLS,
    "last": "last token of the prompt",
    "last_system": "last token of the system block",
    "bos": "first token of the prompt",
    "marker": "at the marker",
    "answer_mean": "mean over the answer",
    "resid_pre": "input of the layer",
    "resid_post": "output of the layer",
    "attn_out": "what attention adds",
    "mlp_out": "what the MLP adds",
    "head": "output of one head",
}
BETWEEN = " · "
COLUMNS = ("stratum", "site")  # that hold them


def place_words(place: str | None) -> str | None:
    """`last · resid_post` as `last token of the prompt, output of the layer`; what has no word of its own goes without underscores."""
    return None if not place else ", ".join(WORDS.get(part, part.replace("_", " ")) for part in place.split(BETWEEN))


def place_or_unknown(place: str | None) -> str:
    """As `place_words`, and that it was not recorded."""
    return place_words(place) or NOTHING_KNOWN


def in_words(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with words in COLUMNS."""
    return rows.with_columns(pl.col(name).replace(WORDS) for name in COLUMNS if rows.schema.get(name) == pl.String)
