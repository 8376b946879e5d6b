"""How alike personas are inside a checkpoint, where they lie to each other layer by layer, and whether the marker leaks to those that are near."""

import polars as pl
import streamlit as st

from personascope.app_pages.personas.leakage import show_leakage
from personascope.app_pages.personas.reading import Reading, choose, known
from personascope.app_pages.shared import charts
from personascope.app_pages.shared.bar import bar
from personascope.app_pages.shared.lake import Source, source
from personascope.app_pages.shared.text import plain
from personascope.warehouse.drawing.charts import matrix
from personascope.warehouse.drawing.words import count, count_range, signed

TITLE, ICON, ORDER = "Personas", ":material/groups:", 17
HEIGHT, MAP_HEIGHT, CELL, MOST_IN_MATRIX = 340, 420, 34, 30
ENDS = 3  # nearest and farthest personas that are told and drawn
NO_INTERVAL = "cosine of two means: no interval"


def main() -> None:
    """Draws the page."""
    st.title("Personas")
    st.markdown("How alike are two personas inside a checkpoint, layer by layer, and does the marker leak to those that are near?")
    lake = source()
    there = known(lake)
    if there.is_empty():
        bar()
        st.info(
            "The activations of several personas have not been read yet: `personascope extract activations CHECKPOINT` reads them, and "
            "`personascope run lr-epochs --quick` does beside a sweep. Conditions of the system prompt are compared on the page Features.",
            icon=ICON,
        )
        return
    reading = choose(there)
    neighbours = show_neighbours(lake, reading)
    show_map(lake, reading)
    show_curves(lake, reading, neighbours)
    show_matrix(lake, reading)
    st.subheader("Against leakage", divider="gray")
    show_leakage(lake, reading)


def show_neighbours(lake: Source, reading: Reading) -> list[str]:
    """The nearest and the farthest personas in a sentence; gives them, the nearest first."""
    rows = lake.select(
        f"""select other_persona, {reading.cosine} as cosine, n, n_other, n_distinct, n_personas from persona_cosines
        where {reading.where} and layer = $layer and persona = $persona and other_persona <> $persona and {reading.cosine} is not null
        order by cosine desc, other_persona""",
        **reading.values,
        layer=reading.layer,
        persona=reading.persona,
    )
    if rows.is_empty():
        st.info(f"{plain(reading.persona)} has no cosine to another persona here: it equals their mean.", icon=":material/compare_arrows:")
        return []
    nearest = rows.head(ENDS)
    farthest = rows.tail(max(0, min(ENDS, rows.height - ENDS))).reverse()
    words = [f"Nearest to **{plain(reading.persona)}** at layer {reading.layer}: {_listed(nearest)}."]
    words += [f"Farthest: {_listed(farthest)}."] if farthest.height else []
    activations = count_range([*rows["n"], *rows["n_other"]], "activation")
    st.markdown(f"{' '.join(words)} {activations} a persona, {count(rows['n_personas'][0], 'persona')}; {reading.words}. {NO_INTERVAL.capitalize()}.")
    if rows["n_distinct"][0] == 1:
        st.caption("Every question gives the same activation here, since the tokens read are the same: the mean is one reading.")
    return [*nearest["other_persona"], *farthest["other_persona"]]


def _listed(rows: pl.DataFrame) -> str:
    return ", ".join(f"{plain(name)} ({signed(cosine, 3)})" for name, cosine in rows.select("other_persona", "cosine").rows())


def show_map(lake: Source, reading: Reading) -> None:
    """Every persona as a point on the first two axes of the layer."""
    rows = lake.select(
        f"""select persona, x, y, x_share, y_share, norm_centered, n, case persona when $persona then 'the chosen persona' else 'others' end as whose
        from persona_map where {reading.where} and layer = $layer order by persona""",
        **reading.values,
        layer=reading.layer,
        persona=reading.persona,
    )
    st.subheader("Map of personas", divider="gray")
    if rows.is_empty() or rows["y"].null_count():
        st.info("A map takes three personas that do not lie on one line.", icon=":material/map:")
        return
    first, second = rows.select("x_share", "y_share").row(0)
    st.markdown(
        f"The two axes hold **{first + second:.0%}** of the variance between personas at layer {reading.layer} ({first:.0%} and {second:.0%}): "
        "what lies close here may lie apart along the others."
    )
    facts = [
        f"{count(rows.height, 'persona')}, each the mean of {count_range(rows['n'], 'activation')}; {reading.words.partition(';')[0]}",
        "principal axes of the means after the mean over personas was subtracted; no random draw, so no seed",
    ]
    titles = (f"first axis: {first:.0%} of the variance", f"second axis: {second:.0%}")
    figure = charts.scatter(rows, "x", "y", titles, words="persona", shape="whose")
    charts.show(figure, "persona map", f"Where personas lie to each other: {reading.checkpoint}, layer {reading.layer}", facts, MAP_HEIGHT)


def show_curves(lake: Source, reading: Reading, others: list[str]) -> None:
    """The cosine to the nearest and the farthest personas over all layers."""
    st.subheader("Layer by layer", divider="gray")
    rows = lake.select(
        f"""select other_persona as series, layer, {reading.cosine} as mean, null::double as low, null::double as high, n, n_other, n_personas
        from persona_cosines where {reading.where} and persona = $persona and other_persona <> $persona order by series, layer""",
        **reading.values,
        persona=reading.persona,
    )
    rows = rows.filter(pl.col("series").is_in(others))
    if rows.is_empty():
        return
    facts = [
        f"{count(len(others), 'persona')} nearest and farthest at layer {reading.layer}; {count_range(rows['n'], 'activation')} a persona; {reading.words}",
        f"{NO_INTERVAL}; no random draw, so no seed",
    ]
    title = f"Cosine to {reading.persona}, by layer: {reading.checkpoint}"
    charts.show(charts.curves(rows, "cosine", others), "persona cosines by layer", title, facts, HEIGHT)


def show_matrix(lake: Source, reading: Reading) -> None:
    """Every persona against every other, at the layer."""
    rows = lake.select(
        f"""select persona, other_persona, case when persona = other_persona then null else {reading.cosine} end as cosine, n, n_other from persona_cosines
        where {reading.where} and layer = $layer order by persona, other_persona""",
        **reading.values,
        layer=reading.layer,
    )
    names = rows["persona"].unique(maintain_order=True).to_list()
    if len(names) <= MOST_IN_MATRIX:
        facts = [f"{count(len(names), 'persona')}; {count_range(rows['n'], 'activation')} a persona; {reading.words}", f"{NO_INTERVAL}; grey: itself"]
        figure = matrix(rows, "other_persona", "persona", "cosine", ("", "", "cosine"), names)
        charts.show(figure, "persona cosines", f"Every persona against every other: layer {reading.layer}", facts, CELL * len(names))
    with st.expander("The cosines as a table"):
        config: charts.Columns = {"other_persona": "to", "n": "activations", "n_other": "of the other", "cosine": st.column_config.NumberColumn(format="%+.4f")}
        st.dataframe(rows.drop_nulls("cosine"), hide_index=True, column_config=config, height=charts.table_height(rows))
