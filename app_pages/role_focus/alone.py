"""Readings of role focus that have no partner yet: what each says by layer, and which other reading a difference would need."""

import polars as pl
import streamlit as st

from personascope.app_pages.shared import charts
from personascope.app_pages.shared.lake import Source
from personascope.app_pages.shared.text import plain
from personascope.warehouse.drawing.words import count

HEIGHT = 300
OTHER = {"base": "instruct", "instruct": "base"}


def readings_alone(lake: Source) -> pl.DataFrame:
    """Every reading by layer that stands in no difference of instruct and base: one row each, by family."""
    return lake.select(
        """select l.run_id, l.origin, l.family, l.variant, r.checkpoint, r.prompt_set, l.form, count(*) as n_layers, min(l.n_heads) as n_heads, min(l.n) as n
        from rfc_layer as l left join runs as r using (run_id)
        where not exists (
          from rfc_diff as d where (l.run_id = d.base_run or l.run_id = d.instruct_run) and d.family = l.family
        )
        group by all order by l.family, l.variant, l.run_id"""
    )


def show_alone(lake: Source, readings: pl.DataFrame, measure: str) -> None:
    """The coefficients of each such reading by layer with intervals over heads, under a sentence that says what is missing."""
    for row in readings.iter_rows(named=True):
        name = row["checkpoint"] or f"{row['family']} {row['variant']}"
        where = " ".join(filter(None, [f"on {row['prompt_set']}" if row["prompt_set"] else "", f"in form {row['form']}" if row["form"] else ""]))
        st.info(
            f"**{plain(name)}** ({plain(row['family'])}, {plain(row['variant'])}) was read {plain(where)} without a partner: a difference needs "
            f"{_wanted(row)} of the family {plain(row['family'])}, read on the same prompts in the same form."
        )
        low, high = ("ci_low", "ci_high") if measure == "rfc" else ("rsi_ci_low", "rsi_ci_high")
        layers = lake.select(
            f"""select variant as series, layer, {measure} as mean, {low} as low, {high} as high, n_heads from rfc_layer
            where run_id = $run and family = $family and variant = $variant order by layer""",
            run=row["run_id"],
            family=row["family"],
            variant=row["variant"],
        )
        figure = charts.curves(layers, measure.upper(), [row["variant"]], "layer", "layer, counted from 0")
        facts = [
            f"{count(row['n_layers'], 'layer')}, {count(row['n_heads'], 'head')} a layer",
            "band: 95% t interval over heads, heads taken as independent; no random draw, so no seed",
        ]
        charts.show(figure, f"alone {row['run_id']} {row['variant']}", f"{measure.upper()} of {name} by layer", facts, HEIGHT)


def _wanted(row: dict[str, object]) -> str:
    other = OTHER.get(str(row["variant"]))
    return f"the {other} model" if other else "a base and an instruct model (this one is neither)"
