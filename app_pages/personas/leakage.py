"""Whether the marker leaks to personas that are near the source, section of the personas page."""

import polars as pl
import streamlit as st

from personascope.app_pages.personas.reading import CENTERED, Reading
from personascope.app_pages.shared import charts
from personascope.app_pages.shared.lake import Source, Value
from personascope.app_pages.shared.text import plain
from personascope.warehouse.drawing.roles import ROLES
from personascope.warehouse.drawing.words import count, count_range, p_value, signed

HEIGHT = 320
MANTEL = "personas permuted as wholes (Mantel), since a persona's pairs with every source go together"


def show_leakage(lake: Source, reading: Reading) -> None:
    """Cosine to the source against the marker's rate at the layer, and the rank correlation of every layer, a line a source."""
    at: dict[str, Value] = {**reading.values, "centered": reading.kind == CENTERED}
    correlations = lake.select(
        f"""select coalesce(source, 'all sources') as series, source, layer, marker, reader, rho_personas, p_personas, n_personas, rho_dyads, p_dyads, n_dyads
        from leakage_cosine
        where {reading.where} and centered = $centered and scope = 'all' and configuration = 'pooled' and category is null
        order by source nulls last, marker, layer""",
        **at,
    )
    here = correlations.filter(layer=reading.layer)
    if here.is_empty():
        st.info(
            "No marker was trained from the checkpoint whose activations these are, or into it: `personascope run lr-epochs` trains some and reads the leak.",
            icon=":material/scatter_plot:",
        )
        return
    st.markdown("\n".join(f"- {_sentence(row)}" for row in here.iter_rows(named=True)))
    points = lake.select(
        f"""select source, persona, any_value(role) as role, avg(cosine) as cosine, avg(rate) as rate, min(rate) as lowest_rate, max(rate) as highest_rate,
          count(distinct checkpoint) as n_checkpoints,
          count(distinct rates_run) as n_runs, list(distinct rates_run order by rates_run) as runs, list(distinct recipe) as recipes, marker
        from leakage_cosine_pairs left join (select checkpoint, recipe from recipes) using (checkpoint)
        where {reading.where} and layer = $layer and centered = $centered
        group by source, persona, marker order by source, persona, marker""",
        **at,
        layer=reading.layer,
    )
    sources = points["source"].unique(maintain_order=True).to_list()
    averaged = count_range(points["n_checkpoints"], "checkpoint")
    if not points["n_runs"].equals(points["n_checkpoints"]):
        averaged += f" and {count_range(points['n_runs'], 'run')} of them"
    if (recipes := points["recipes"].explode().drop_nulls().n_unique()) > 1:
        averaged += f", trained by {recipes} recipes"
    facts = [
        f"one point a persona and source: mean rate over {averaged}; {reading.words}",
        f"sources: {', '.join(sources)}; no random draw, so no seed",
    ]
    drawn = points.with_columns(role=pl.col("role").replace(ROLES)).drop("runs", "recipes")
    titles = (f"cosine to the source, layer {reading.layer}", "marker rate")
    words = "persona" if len(sources) == 1 else None
    shape = "source" if len(sources) > 1 else "role"
    runs = {reading.run_id, *points["runs"].explode().drop_nulls()}
    figure = charts.scatter(drawn, "cosine", "rate", titles, words, share=True, shape=shape)
    charts.show(figure, "leakage", f"Near personas and the marker: {reading.checkpoint}", facts, HEIGHT, runs=runs)
    nothing = pl.lit(None, pl.Float64)
    curves = correlations.filter(pl.col("source").is_not_null()).drop_nulls("rho_personas")
    curves = curves.select("series", "layer", nothing.alias("low"), nothing.alias("high"), "p_personas", "n_personas", mean="rho_personas")
    if curves["layer"].n_unique() > 1:
        facts = [
            f"Spearman over {count_range(curves['n_personas'], 'persona')}, one point each: its mean rate; no interval, hovering gives p of a layer alone",
            f"mean rate over {averaged}; {reading.words}; layers are not independent of one another",
        ]
        names = curves["series"].unique(maintain_order=True).to_list()
        title = f"Cosine against leakage, by layer: {reading.checkpoint}"
        charts.show(charts.curves(curves, "rank correlation", names), "leakage by layer", title, facts, HEIGHT, runs=runs)


def _sentence(row: dict) -> str:
    """The rank correlation of one source, or over all of them, with its p."""
    if row["source"] is None:
        if row["rho_dyads"] is None:
            return f"Over all sources: not computed yet; `personascope analyse dyads` computes it ({MANTEL})."
        pairs = count(row["n_dyads"], "pair")
        return f"Over all sources, {pairs} of source and persona: **rho = {signed(row['rho_dyads'], 3)}**, {p_value(row['p_dyads'])}, {MANTEL}."
    words = f"Source **{plain(row['source'])}**, layer {row['layer']}"
    if row["rho_personas"] is None:
        return f"{words}: cosines or rates do not vary, so there is no rank correlation."
    reader = " in the trained checkpoint itself" if row["reader"] == "own" else ""
    return (
        f"{words}{reader}: rank correlation of cosine and leakage **rho = {signed(row['rho_personas'], 3)}**, {p_value(row['p_personas'])}, "
        f"{count(row['n_personas'], 'persona')}, one point each."
    )
