"""Two checkpoints, runs or seeds side by side on any measure they share, the paired difference where one exists, and what they differ in."""

import polars as pl
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from personascope.app_pages.compare.measure import show_heads, show_layers, show_tokens, show_whole
from personascope.app_pages.compare.seeds import show_seeds
from personascope.app_pages.compare.settings import show_settings
from personascope.app_pages.compare.sides import Side, choose
from personascope.app_pages.shared import address
from personascope.app_pages.shared.bar import asked, bar
from personascope.app_pages.shared.lake import source
from personascope.app_pages.shared.text import plain
from personascope.warehouse.drawing.places import place_words
from personascope.warehouse.drawing.words import count

TITLE, ICON, ORDER = "Compare", ":material/compare:", 19


def main() -> None:
    """Draws the page."""
    st.title("Compare")
    st.markdown("Two checkpoints, runs or seeds side by side, on any measure that both have, and what they differ in.")
    lake = source()
    there = lake.select("select checkpoint, persona, n_layers, len(topics) as n from slice_places order by n desc, checkpoint, persona nulls last")
    checkpoints: list[str] = there["checkpoint"].unique(maintain_order=True).to_list()
    if not checkpoints:
        st.info("Nothing has been measured in this lake yet: `personascope run marker-attention --quick` makes checkpoints to compare.", icon=ICON)
        return
    wanted = asked("checkpoint")
    first = wanted if wanted is not None and wanted in checkpoints else checkpoints[0]
    of = there.filter(pl.col("checkpoint") == first)
    depth = of["n_layers"].drop_nulls().max()
    personas = there["persona"].drop_nulls().unique(maintain_order=True).to_list()
    place = bar(checkpoints=checkpoints, personas=personas, layers=range(depth) if isinstance(depth, int) else ())
    if place.checkpoint is None:
        st.caption(f"Until the bar chooses one, the first is {plain(first)}.")
    left, right = st.columns([2, 3])
    sides = choose(lake, first, checkpoints, place.persona, left)
    if sides is None:
        return
    measures = _shared(*sides)
    if measures.is_empty():
        st.info(f"{plain(sides[0].name)} and {plain(sides[1].name)} share no measure{_under(place.persona)}.", icon=ICON)
    else:
        _show_measure(sides, measures, place.layer, right)
    show_seeds(lake, sides[0].checkpoint, sides[1].checkpoint)
    show_settings(lake, *sides)


def _under(persona: str | None) -> str:
    return "" if persona is None else f" under {plain(persona)}"


def _shared(left: Side, right: Side) -> pl.DataFrame:
    """Measures of both sides, with the place where they were read; not the differences to a third one."""
    kinds = [
        side.rows.filter(pl.col("other_checkpoint").is_null() & pl.col("value").is_not_null())
        .select("topic", "measure", "place", pl.col("layer").is_not_null().alias("by_layer"), pl.col("head").is_not_null().alias("by_head"))
        .unique(maintain_order=True)
        for side in (left, right)
    ]
    return kinds[0].join(kinds[1], on=kinds[0].columns, how="semi", nulls_equal=True, maintain_order="left")


def _show_measure(sides: tuple[Side, Side], measures: pl.DataFrame, layer: int | None, where: DeltaGenerator) -> None:
    """The chosen measure of both, in the form that fits it."""
    names = [", ".join(filter(None, [row["measure"], place_words(row["place"])])) for row in measures.iter_rows(named=True)]
    labels = {str(number): name for number, name in enumerate(names)}
    chosen = int(address.select("Measure", list(labels), "compared", labels=labels, help=f"{count(len(labels), 'measure')} that both have.", where=where))
    measure = measures.row(chosen, named=True)
    of = {
        side.name: side.rows.filter(
            (pl.col("measure") == measure["measure"])
            & pl.col("place").eq_missing(measure["place"])
            & pl.col("other_checkpoint").is_null()
            & (pl.col("head").is_not_null() == measure["by_head"])
            & (pl.col("layer").is_not_null() == measure["by_layer"])
        )
        for side in sides
    }
    show_tokens(of[sides[0].name], sides[0])
    if measure["by_head"]:
        show_heads(of, names[chosen], sides, layer)
    elif measure["by_layer"]:
        show_layers(of, names[chosen], sides)
    else:
        show_whole(of, names[chosen], sides)
