"""One measure of two sides: curves by layer, figures of the whole model, or head against head; and the paired difference where the lake has one."""

from typing import TypeAlias

import polars as pl
import streamlit as st

from personascope.app_pages.compare.sides import Side
from personascope.app_pages.shared import charts
from personascope.app_pages.shared.text import plain
from personascope.warehouse.drawing.places import place_words
from personascope.warehouse.drawing.words import count, count_range, p_value, signed

Sides: TypeAlias = tuple[Side, Side]
HEIGHT, ROW, MOST_SERIES, MOST_LABELS = 360, 34, 7, 40
NOTHING = {"persona": "no persona"}  # what a curve without one is called
UNPAIRED = "The lake holds no paired difference of the two on this measure: each has its own interval, and these do not add up to one of the difference."


def show_layers(of: dict[str, pl.DataFrame], name: str, sides: Sides) -> None:
    """The curves of both by layer, then their paired difference by layer."""
    rows = _series(of)
    names = _of_both(rows)
    if (every := rows["series"].n_unique()) > len(names):
        narrowed = "" if rows["persona"].n_unique() == 1 else "; the bar narrows them to one persona"
        st.caption(f"{count(every, 'curve')}: the first {len(names)} are drawn, those first that both have{narrowed}.")
    rows = rows.filter(pl.col("series").is_in(names))
    drawn = rows.sort("series", "layer").select("series", "layer", "low", "high", "p", "n", "n_of", "n_clusters", "run_id", mean="value")
    charts.show(charts.curves(drawn, rows["unit"][0], names), "compare", name[:1].upper() + name[1:], _facts(rows), HEIGHT)
    _show_difference(of, sides, by_layer=True)


def show_whole(of: dict[str, pl.DataFrame], name: str, sides: Sides) -> None:
    """Figures of the whole model, a line a persona, both checkpoints in it."""
    rows = _series(of, apart=False).with_columns(label=pl.col("persona").fill_null("no persona"))
    labels = rows.group_by("label", maintain_order=True).agg(pl.col("value").max()).sort("value", descending=True, maintain_order=True)["label"].to_list()
    if len(labels) > MOST_LABELS:
        st.caption(f"{count(len(labels), 'persona')}: the {MOST_LABELS} with the largest figures are drawn.")
    order = {label: place for place, label in enumerate(labels[:MOST_LABELS])}
    rows = rows.filter(pl.col("label").is_in(list(order))).sort(pl.col("label").replace_strict(order), maintain_order=True)
    drawn = rows.select("label", "series", "low", "high", "n", "n_of", "n_clusters", "method", "run_id", rate="value")
    names = rows["series"].unique(maintain_order=True).to_list()
    charts.show(charts.rates(drawn, name, names), "compare", name[:1].upper() + name[1:], _facts(rows), ROW * len(order))
    _show_difference(of, sides, by_layer=False)


def show_heads(of: dict[str, pl.DataFrame], name: str, sides: Sides, layer: int | None) -> None:
    """Every head as a point: its figure in one checkpoint against that in the other."""
    first, second = of
    left, right = of[first], of[second]
    keys = ["layer", "head"]
    several = [side for side, rows in ((first, left), (second, right)) if rows.select(keys).is_duplicated().any()]
    if several:
        words = f"{plain(several[0])} has several figures of one head here, from several personas or runs: the bar narrows them to one persona."
        st.info(words, icon=":material/scatter_plot:")
        return
    columns = ["value", "n", "run_id"]
    rows = left.select(*keys, *columns).join(right.select(*keys, *columns), on=keys, suffix="_other", maintain_order="left")
    rows = rows if layer is None else rows.filter(layer=layer)
    if rows.is_empty():
        st.info("No head of this layer was measured in both.", icon=":material/scatter_plot:")
        return
    rows = rows.with_columns(words=pl.format("{}.{}", "layer", "head"))
    facts = [
        f"a point a head ({rows.height}), {'every layer' if layer is None else f'layer {layer}'}, named layer.head; n: {count_range(rows['n'], 'reading')} in "
        f"{first}, {count_range(rows['n_other'], 'reading')} in {second}",
        f"{left['method'][0]}; no random draw, so no seed",
    ]
    figure = charts.scatter(rows, "value", "value_other", (f"{first}: {left['unit'][0]}", second), words="words" if rows.height <= 120 else None)
    charts.show(figure, "compare", name[:1].upper() + name[1:], facts, HEIGHT)
    st.caption("A head with the same figure in both lies on the rising diagonal. There is no difference of single heads with an interval here.")


def show_tokens(rows: pl.DataFrame, side: Side) -> None:
    """Over whose tokens both are compared, where these rows are of attention."""
    if side.tokens_of and rows["topic"].is_in(["attention", "heads"]).any():
        st.caption(f"Over the tokens of {plain(', '.join(side.tokens_of))}, which both read.")


def _series(of: dict[str, pl.DataFrame], apart: bool = True) -> pl.DataFrame:
    """Both sides with a name for each curve, `series`: the side, and whatever else tells its figures apart, which is `of` alone."""
    named = []
    keys = ["layer"] if apart else ["layer", "persona"]
    for side, rows in of.items():
        rows = rows.with_columns(pl.col("place").map_elements(place_words, return_dtype=pl.String), side=pl.lit(side), of=pl.lit(""))
        for column in (*(["persona"] if apart else []), "other", "place", "run", "run_id"):
            more = rows.with_columns(of=pl.format("{} · {}", "of", pl.col(column).fill_null(NOTHING.get(column, "–"))))
            rows = more if more.select("of", *keys).n_unique() > rows.select("of", *keys).n_unique() else rows
        named.append(rows.with_columns(series=pl.col("side") + pl.col("of")))
    return pl.concat(named, how="vertical_relaxed")


def _of_both(rows: pl.DataFrame) -> list[str]:
    """The curves that are drawn, at most MOST_SERIES: of more, those first that both sides have, side by side, then as many of the one as of the other."""
    curves = rows.select("series", "side", "of").unique(maintain_order=True)
    if curves.height <= MOST_SERIES:
        return curves["series"].to_list()
    shared = pl.col("side").n_unique().over("of") > 1
    curves = curves.with_columns(shared=shared).sort("shared", descending=True, maintain_order=True)
    curves = curves.with_columns(place=pl.int_range(pl.len()).over("side")).sort("place", maintain_order=True)
    return curves["series"].head(MOST_SERIES - MOST_SERIES % 2).to_list()


def _facts(rows: pl.DataFrame) -> list[str]:
    """What stands behind figures of both."""
    counted = [f"{count_range(rows.filter(n_of=what)['n'], what.removesuffix('s'))}" for what in rows["n_of"].unique(maintain_order=True).to_list()]
    clusters = rows["n_clusters"].drop_nulls()
    of = f" of {count_range(clusters, 'question')}" if len(clusters) and rows["n_of"][0] != "questions" else ""
    methods = rows["method"].str.split("; p").list.first().unique(maintain_order=True).to_list()
    persona = rows["persona"].unique(maintain_order=True).to_list()
    under = f"; persona {persona[0]}" if len(persona) == 1 and persona[0] is not None else ""
    return [f"{' and '.join(counted)}{of} a figure; {rows['unit'][0]}{under}", *methods[:2]]


def _show_difference(of: dict[str, pl.DataFrame], sides: Sides, by_layer: bool) -> None:
    """The paired difference of the two on this topic, where one of them has it to the other."""
    topic = next(iter(of.values()))["topic"][0]
    found = pl.concat(
        [
            one.minus(other).filter((pl.col("topic") == topic) & pl.col("head").is_null() & (pl.col("layer").is_not_null() == by_layer))
            for one, other in (sides, sides[::-1])
        ],
        how="vertical_relaxed",
    )
    if found.is_empty():
        st.caption(UNPAIRED)
        return
    for (checkpoint, other, measure, persona, run_id, base_run), rows in found.group_by(
        ["checkpoint", "other_checkpoint", "measure", "persona", "run_id", "base_run"], maintain_order=True
    ):
        _draw_difference(f"{measure}: {checkpoint} minus {other}{'' if persona is None else f', tokens of {persona}'}", f"{run_id} {base_run}", rows, by_layer)


def _draw_difference(title: str, key: str, rows: pl.DataFrame, by_layer: bool) -> None:
    """One difference: its largest layer in a sentence, then every layer with its interval."""
    largest = rows.sort(pl.col("value").abs(), descending=True, maintain_order=True).row(0, named=True)
    interval = "" if largest["low"] is None else f", 95% {signed(largest['low'])} to {signed(largest['high'])}"
    where = f" at layer {largest['layer']}, the largest" if by_layer else ""
    verdict = f": {plain(largest['verdict'])}" if largest["verdict"] else ""
    p = f", {p_value(largest['p'])}" if largest["p"] is not None else ""
    st.markdown(f"Paired difference, {plain(title)}: **{signed(largest['value'])}**{where}{interval}{p}{verdict}.")
    if not by_layer or rows.height < 2:
        return
    drawn = rows.sort("layer").select("layer", "low", "high", "p", "n", "n_clusters", "verdict", mean="value")
    charts.show(charts.intervals(drawn, rows["unit"][0]), f"difference {key} {rows['source'][0]}", title[:1].upper() + title[1:], _facts(rows), HEIGHT)
