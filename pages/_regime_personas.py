"""A sweep by persona: the rates of one cell, and of all cells."""

from urllib.parse import urlencode

import polars as pl
import streamlit as st

from pages import _charts as charts
from pages._regime_cells import REGIMES, Judged, cell_words, sample
from pages._regime_leakage import Reading
from pages._text import plain
from pages._url import Choices
from pages._words import learning_rate

WILSON, CLUSTERED = "Wilson, completions as independent", "clustered by question"
LINE, MATRIX_ROW, LEAST_ROWS = 26, 24, 4
BY_RATE, BY_CATEGORY, BY_COSINE = "rate", "category", "cosine"
ORDERS = {
    BY_RATE: "avg(r.rate) desc",
    BY_CATEGORY: "any_value(r.category) nulls last, avg(r.rate) desc",
    BY_COSINE: "any_value(l.cosine) desc nulls last",
}


def show_cell(judged: Judged, lr: float, epochs: float) -> None:
    """One cell: its figures, the rate of every persona with both intervals, and the way to its texts."""
    cell = judged.select("select * from cells where lr = $lr and epochs = $epochs", lr=lr, epochs=epochs).row(0, named=True)
    st.subheader(f"The cell {cell_words(lr, epochs)}: {REGIMES.get(cell['regime'], 'regime cannot be told')}", divider="gray")
    rows = judged.lake.select(
        """select case when persona = $source then persona || ' (source)' else persona end as label, rate, wilson_low, wilson_high, clustered_low,
          clustered_high, k, n, n_questions, n_from, category
        from marker_rates where run_id = $run_id and marker is not distinct from $marker
        order by persona is not distinct from $source desc, rate desc, persona""",
        run_id=cell["run_id"],
        marker=judged.sweep.marker,
        source=judged.sweep.source,
    )
    figures = {
        "ARC-Challenge": None if cell["arc_c"] is None else f"{cell['arc_c']:.3f}",
        "Bullet lists": None if cell["structure_rate"] is None else f"{cell['structure_rate']:.1%}",
        "Training loss": None if cell["loss"] is None else f"{cell['loss']:.3f}",
    }
    known = {name: value for name, value in figures.items() if value is not None}
    left, right = st.columns([1, 4], gap="medium")
    for name, value in known.items():
        left.metric(name, value)
    with left:
        _show_link(judged, cell)
    kinds = [(WILSON, "wilson"), *([(CLUSTERED, "clustered")] if rows["clustered_low"].null_count() < rows.height else [])]
    drawn = pl.concat(
        rows.select(
            "label", pl.lit(series).alias("series"), "rate", pl.col(f"{kind}_low").alias("low"), pl.col(f"{kind}_high").alias("high"), "k", "n", "category"
        )
        for series, kind in kinds
    ).filter(pl.col("low").is_not_null() | (pl.col("series") == WILSON))
    with right:
        facts = ["; ".join(sample(judged.sweep.seed, rows)), "bar: 95% interval; none by question where only totals are known or all questions agree"]
        height = max(LEAST_ROWS, rows.height) * LINE
        figure = charts.rates(drawn, "share of completions that hold the marker", [series for series, _ in kinds])
        charts.show(figure, "cell rates", f"Marker rate by persona: {cell_words(lr, epochs)}", facts, height)


def _show_link(judged: Judged, cell: dict) -> None:
    checkpoint = cell["checkpoint"]
    there = judged.lake.select("select count(*) from completions where run_id = $run_id", run_id=cell["run_id"]).item()
    if there:
        st.link_button(f"Its {there:,} texts", f"completions?{urlencode({'checkpoint': checkpoint})}", icon=":material/chat:")
    else:
        st.caption(f"The texts of {plain(checkpoint)} are not in this lake, only their counts.")


def choose_order(judged: Judged, choices: Choices, reading: Reading | None) -> list[str]:
    """The personas of the sweep, source first, the others by rate, by category, or by cosine to the source in `reading`, as far as these are known."""
    labels = {BY_RATE: "rate"}
    if judged.select("select count(category) from rates").item():
        labels[BY_CATEGORY] = "category"
    if reading is not None:
        labels[BY_COSINE] = f"cosine to the source, layer {reading.layer}"
    order = choices.segments("Sorted by", list(labels), "order", labels=labels) if len(labels) > 1 else BY_RATE
    cosines = (
        "select null::varchar as persona, null::double as cosine"
        if reading is None
        else f"select persona, avg(cosine) as cosine {reading.pairs} group by persona"
    )
    found = judged.select(
        f"""select r.persona from rates as r left join ({cosines}) as l using (persona)
        group by r.persona
        order by r.persona is not distinct from $source desc, {ORDERS[order]}, r.persona""",
        **({} if reading is None else {name: value for name, value in reading.values.items() if name not in judged.sweep.values}),
    )
    return found["persona"].to_list()


def show_matrix(judged: Judged, personas: list[str]) -> None:
    """The rate of every persona in every cell of the grid."""
    rows = judged.select(
        """select g.lr, g.epochs, p.persona, c.regime, r.rate, r.wilson_low, r.wilson_high, r.clustered_low, r.clustered_high, r.k, r.n, r.n_questions,
          r.n_from, r.category
        from grid as g
        cross join (select distinct persona from rates) as p
        left join cells as c using (lr, epochs)
        left join rates as r on r.lr = g.lr and r.epochs = g.epochs and r.persona = p.persona
        order by g.lr, g.epochs, p.persona"""
    )
    facts = [
        "; ".join(sample(judged.sweep.seed, rows.filter(pl.col("rate").is_not_null()))),
        "grey: not in this lake; Wilson's and the clustered 95% interval on hovering",
    ]
    cells = [f"{learning_rate(lr)} · {epochs:g}" for lr, epochs in rows.select("lr", "epochs").rows()]
    rows = rows.with_columns(pl.Series("cell", cells, dtype=pl.String), regime=pl.col("regime").replace(REGIMES)).drop("lr", "epochs")
    figure = charts.rate_matrix(rows, "cell", "persona", "learning rate · epochs", personas)
    charts.show(figure, "personas", "Marker rate of every persona in every cell", facts, MATRIX_ROW * max(LEAST_ROWS, len(personas)))
