"""Two checkpoints side by side on any measure they share, the paired difference where one exists, and the settings in which they differ."""

import polars as pl
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from personascope.app_pages.compare.measure import show_heads, show_layers, show_whole
from personascope.app_pages.compare.seeds import show_seeds
from personascope.app_pages.shared import address, charts
from personascope.app_pages.shared.bar import asked, bar
from personascope.app_pages.shared.lake import Source, source
from personascope.app_pages.shared.text import plain
from personascope.warehouse.asking.slices import collect
from personascope.warehouse.drawing.places import place_words
from personascope.warehouse.drawing.words import count

TITLE, ICON, ORDER = "Compare", ":material/compare:", 19
NAMES = {
    "lr": "learning rate",
    "lora_r": "LoRA rank",
    "lora_alpha": "LoRA alpha",
    "lora_dropout": "LoRA dropout",
    "lora_targets": "LoRA modules",
    "id": "Hub id or path",
}
ORIGINS = {"card": "of the weights", "training": "of the training"}


def main() -> None:
    """Draws the page."""
    st.title("Compare")
    st.markdown("Two checkpoints side by side, on any measure that both have, and what they differ in.")
    lake = source()
    there = lake.select("select checkpoint, persona, n_layers, len(topics) as n from slice_places order by n desc, checkpoint, persona nulls last")
    checkpoints: list[str] = there["checkpoint"].unique(maintain_order=True).to_list()
    if len(checkpoints) < 2:
        st.info("A comparison takes two measured checkpoints; this lake holds fewer: `personascope run marker-attention --quick` makes some.", icon=ICON)
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
    beside = address.select("Beside", _others(lake, first, checkpoints), "beside", where=left)
    sides = {name: _figures(lake, name, place.persona) for name in (first, beside)}
    measures = _shared(*sides.values())
    if measures.is_empty():
        st.info(f"{plain(first)} and {plain(beside)} share no measure{_under(place.persona)}.", icon=ICON)
    else:
        _show_measure(sides, measures, place.layer, right)
    show_seeds(lake, first, beside)
    show_settings(lake, first, beside)


def _under(persona: str | None) -> str:
    return "" if persona is None else f" under {plain(persona)}"


def _others(lake: Source, first: str, checkpoints: list[str]) -> list[str]:
    """The other checkpoints, those first whose runs stand beside this one's: its parent, then siblings."""
    near = lake.select(
        """select other_checkpoint from compared_runs where checkpoint = $checkpoint and other_checkpoint <> $checkpoint
        group by other_checkpoint order by min(case why when 'parent' then 0 when 'same tokens' then 1 else 2 end), other_checkpoint""",
        checkpoint=first,
    )["other_checkpoint"].to_list()
    others = [name for name in checkpoints if name != first]
    return [*(name for name in near if name in others), *(name for name in others if name not in near)]


def _figures(lake: Source, checkpoint: str, persona: str | None) -> pl.DataFrame:
    """Everything known of a checkpoint, of every layer; differences between checkpoints stand apart."""
    return collect(lake, checkpoint, persona, None, every=["layer"] if persona is not None else ["layer", "persona"])


def _shared(left: pl.DataFrame, right: pl.DataFrame) -> pl.DataFrame:
    """Measures of both checkpoints, with the place where they were read; not the differences to a third one."""
    kinds = [
        side.filter(pl.col("other_checkpoint").is_null() & pl.col("value").is_not_null())
        .select("topic", "measure", "place", pl.col("layer").is_not_null().alias("by_layer"), pl.col("head").is_not_null().alias("by_head"))
        .unique(maintain_order=True)
        for side in (left, right)
    ]
    return kinds[0].join(kinds[1], on=kinds[0].columns, how="semi", nulls_equal=True, maintain_order="left")


def _show_measure(sides: dict[str, pl.DataFrame], measures: pl.DataFrame, layer: int | None, where: DeltaGenerator) -> None:
    """The chosen measure of both, in the form that fits it."""
    names = [", ".join(filter(None, [row["measure"], place_words(row["place"])])) for row in measures.iter_rows(named=True)]
    labels = {str(number): name for number, name in enumerate(names)}
    chosen = int(address.select("Measure", list(labels), "compared", labels=labels, help=f"{count(len(labels), 'measure')} that both have.", where=where))
    measure = measures.row(chosen, named=True)
    of = {
        name: rows.filter(
            (pl.col("measure") == measure["measure"])
            & pl.col("place").eq_missing(measure["place"])
            & pl.col("other_checkpoint").is_null()
            & (pl.col("head").is_not_null() == measure["by_head"])
            & (pl.col("layer").is_not_null() == measure["by_layer"])
        )
        for name, rows in sides.items()
    }
    if measure["by_head"]:
        show_heads(of, names[chosen], layer)
    elif measure["by_layer"]:
        show_layers(of, names[chosen], sides)
    else:
        show_whole(of, names[chosen], sides)


def show_settings(lake: Source, first: str, beside: str) -> None:
    """The settings in which the two differ."""
    st.subheader("What they differ in", divider="gray")
    rows = lake.select(
        """select name, value, other_value, origin from checkpoint_differences where checkpoint = $first and other_checkpoint = $beside
        order by origin, name""",
        first=first,
        beside=beside,
    )
    if rows.is_empty():
        st.info("Nothing that runs recorded tells the two apart.", icon=":material/drag_handle:")
        return
    st.markdown(f"{count(rows.height, 'setting')} in which {plain(first)} and {plain(beside)} differ, as runs recorded them.")
    shown = rows.with_columns(pl.col("origin").replace(ORIGINS), pl.col("name").replace(NAMES).str.replace_all("_", " "))
    config: charts.Columns = {"name": "setting", "value": first, "other_value": beside, "origin": "recorded"}
    st.dataframe(shown, hide_index=True, column_config=config, height=charts.table_height(shown), placeholder="not recorded")
