"""How alike personas are inside a checkpoint, where they lie to each other layer by layer, and whether the marker leaks to those that are near."""

import polars as pl
import streamlit as st

from personascope.app_pages.personas.leakage import show_leakage
from personascope.app_pages.personas.reading import Reading, choose, cosines, known
from personascope.app_pages.shared import charts
from personascope.app_pages.shared.bar import NOTHING_YET, bar
from personascope.app_pages.shared.lake import Source, source
from personascope.app_pages.shared.text import plain
from personascope.warehouse.drawing.maps import matrix
from personascope.warehouse.drawing.words import count, count_range, signed

TITLE, ICON, ORDER = "Personas", ":material/groups:", 17
HEIGHT, MAP_HEIGHT, CELL, MOST_IN_MATRIX = 340, 420, 34, 30
NEAR = 0.5  # cosines above it are not drawn from 0: raw means share most of their length
ENDS = 3  # nearest and farthest personas that are told and drawn


def main() -> None:
    """Draws the page."""
    st.title("Personas")
    st.markdown("How alike are two personas inside a checkpoint, layer by layer, and does the marker leak to those that are near?")
    lake = source()
    there = known(lake)
    if there.is_empty():
        bar(silent=NOTHING_YET)
        st.info(
            "The activations of several personas have not been read yet: `personascope extract activations --checkpoint ID --prompts NAME` reads them, and "
            "`personascope run lr-epochs --quick` does beside a sweep; `personascope run sae-conditions --quick` reads conditions of the system prompt.",
            icon=ICON,
        )
        return
    reading = choose(there)
    rows = cosines(lake, reading)
    neighbours = show_neighbours(reading, rows)
    show_map(lake, reading)
    show_curves(reading, rows, neighbours)
    show_matrix(reading, rows)
    if not reading.of_conditions:
        st.subheader("Against leakage", divider="gray")
        show_leakage(lake, reading)


def sureness(rows: pl.DataFrame) -> str:
    """What the intervals of the cosines are, or why there are none."""
    if rows["low"].null_count() == rows.height:
        return "no interval: fewer than three questions that all were asked, or they do not differ"
    questions = count_range(rows["n_questions"], "question")
    return f"95% jackknife interval over {questions} of the cosine without what they add to the length of a mean, each pair alone"


def show_neighbours(reading: Reading, rows: pl.DataFrame) -> list[str]:
    """The nearest and the farthest personas in a sentence; gives them, the nearest first."""
    rows = rows.filter(layer=reading.layer, name=reading.persona).filter(pl.col("other") != reading.persona).drop_nulls("cosine")
    rows = rows.sort("cosine", "other", descending=[True, False])
    if rows.is_empty():
        st.info(f"{plain(reading.persona)} has no cosine to another {reading.whose} here: it equals their mean.", icon=":material/compare_arrows:")
        return []
    nearest = rows.head(ENDS)
    farthest = rows.tail(max(0, min(ENDS, rows.height - ENDS))).reverse()
    words = [f"Nearest to **{plain(reading.persona)}** at layer {reading.layer}: {_listed(nearest)}."]
    words += [f"Farthest: {_listed(farthest)}."] if farthest.height else []
    activations = count_range([*rows["n"], *rows["n_other"]], "activation")
    who = count(rows["n_names"][0], reading.whose)
    st.markdown(f"{' '.join(words)} {activations} a {reading.whose}, {who}; {reading.words}.")
    sure = sureness(rows)
    st.caption(f"{sure[:1].upper()}{sure[1:]}.")
    if rows["n_distinct"][0] == 1:
        st.caption("Every question gives the same activation here, since the tokens read are the same: the mean is one reading.")
    return [*nearest["other"], *farthest["other"]]


def _listed(rows: pl.DataFrame) -> str:
    """Names with their cosines and intervals."""
    told = rows.select("other", "cosine", "low", "high").rows()
    return ", ".join(
        f"{plain(name)} ({signed(value, 3)}{'' if low is None else f', 95% {signed(low, 3)} to {signed(high, 3)}'})" for name, value, low, high in told
    )


def show_map(lake: Source, reading: Reading) -> None:
    """Every persona, or condition, as a point on the first two axes of the layer."""
    name, view = ("condition", "condition_map") if reading.of_conditions else ("persona", "persona_map")
    at = "" if reading.of_conditions else " and condition is not distinct from $condition"
    rows = lake.select(
        f"""select {name} as name, x, y, x_share, y_share, norm_centered, n, case {name} when $persona then $persona else 'others' end as whose
        from {view} where run_id = $run and stratum = $stratum and site = $site{at} and layer = $layer order by name""",
        **{key: value for key, value in reading.values.items() if key != "condition" or not reading.of_conditions},
        layer=reading.layer,
        persona=reading.persona,
    )
    st.subheader(f"Map of {name}s", divider="gray")
    if rows.is_empty() or rows["y"].null_count():
        st.info(f"A map takes three {name}s that do not lie on one line.", icon=":material/map:")
        return
    first, second = rows.select("x_share", "y_share").row(0)
    st.markdown(
        f"The two axes hold **{first + second:.0%}** of the variance between {name}s at layer {reading.layer} ({first:.0%} and {second:.0%}): "
        "what lies close here may lie apart along the others."
    )
    facts = [
        f"{count(rows.height, name)}, each the mean of {count_range(rows['n'], 'activation')}; {reading.place}",
        f"principal axes of the means after the mean over {name}s was subtracted; no random draw, so no seed",
    ]
    titles = (f"first axis: {first:.0%} of the variance", f"second axis: {second:.0%}")
    figure = charts.scatter(rows, "x", "y", titles, words="name", shape="whose")
    title = f"Where {name}s lie to each other: {reading.checkpoint}, layer {reading.layer}"
    charts.show(figure, f"{name} map", title, facts, MAP_HEIGHT, runs=(reading.run_id,))


def show_curves(reading: Reading, rows: pl.DataFrame, others: list[str]) -> None:
    """The cosine to the nearest and the farthest over all layers."""
    st.subheader("Layer by layer", divider="gray")
    rows = rows.filter(pl.col("other").is_in(others), name=reading.persona).sort("other", "layer")
    if rows.is_empty():
        return
    facts = [
        f"{count(len(others), reading.whose)} nearest and farthest at layer {reading.layer}; {count_range([*rows['n'], *rows['n_other']], 'activation')} each; "
        f"{reading.words}",
        f"band: {sureness(rows)}; no random draw, so no seed",
    ]
    title = f"Cosine to {reading.persona}, by layer: {reading.checkpoint}"
    drawn = rows.select("layer", "low", "high", "plain", "n", "n_other", "n_questions", "n_names", series="other", mean="cosine")
    figure = charts.curves(drawn, "cosine", others, near=min(drawn["mean"].drop_nulls(), default=0.0) > NEAR)
    charts.show(figure, "persona cosines by layer", title, facts, HEIGHT, runs=(reading.run_id,))


def show_matrix(reading: Reading, rows: pl.DataFrame) -> None:
    """Every one against every other, at the layer, with intervals in the table."""
    rows = rows.filter(layer=reading.layer).select("name", "other", "cosine", "low", "high", "plain", "n", "n_other", "n_questions")
    names = rows["name"].unique(maintain_order=True).to_list()
    if len(names) <= MOST_IN_MATRIX:
        facts = [f"{count(len(names), reading.whose)}; {count_range(rows['n'], 'activation')} each; {reading.words}", f"{sureness(rows)}; grey: itself"]
        figure = matrix(rows, "other", "name", "cosine", ("", "", "cosine"), names)
        title = f"Every {reading.whose} against every other: {reading.checkpoint}, layer {reading.layer}"
        charts.show(figure, "persona cosines", title, facts, CELL * len(names), runs=(reading.run_id,))
    with st.expander("The cosines as a table, with their intervals"):
        config: charts.Columns = {
            "name": reading.whose,
            "other": "to",
            "cosine": st.column_config.NumberColumn("cosine", format="%+.4f", help="Without what questions add to the length of a mean, where that is known."),
            "low": st.column_config.NumberColumn("95% from", format="%+.4f"),
            "high": st.column_config.NumberColumn("to ", format="%+.4f"),
            "plain": st.column_config.NumberColumn("of the means", format="%+.4f", help="Cosine of the two means as they are."),
            "n": "activations",
            "n_other": "of the other",
            "n_questions": "questions",
        }
        st.dataframe(rows.drop_nulls("cosine"), hide_index=True, column_config=config, height=charts.table_height(rows), placeholder="–")
