"""A sweep by persona: the rates of every persona in all cells, in an order of choice."""

import polars as pl
import streamlit as st

from personascope.app_pages.regimes.leakage import Reading
from personascope.app_pages.regimes.sweep import REGIMES, Judged, sample
from personascope.app_pages.shared import address, charts
from personascope.app_pages.shared.text import plain
from personascope.warehouse.drawing.roles import LABEL, PLACE, role_facts
from personascope.warehouse.drawing.words import learning_rate

MATRIX_ROW, LEAST_ROWS = 24, 4
BY_RATE, BY_CATEGORY, BY_COSINE = "rate", "category", "cosine"
ORDERS = {
    BY_RATE: "avg(r.rate) desc",
    BY_CATEGORY: "any_value(r.category) nulls last, avg(r.rate) desc",
    BY_COSINE: "any_value(l.cosine) desc nulls last",
}


def choose_order(judged: Judged, reading: Reading | None) -> list[str]:
    """Labels of the sweep's personas: source, negatives and held-out ones apart, each by rate, by category, or by cosine to the source in `reading`."""
    labels = {BY_RATE: "rate"}
    if judged.select("select count(category) from rates").item():
        labels[BY_CATEGORY] = "category"
    if reading is not None:
        labels[BY_COSINE] = f"cosine to the source, layer {reading.layer}"
    order = address.segments("Sorted by", list(labels), "order", labels=labels) if len(labels) > 1 else BY_RATE
    cosines = (
        "select null::varchar as persona, null::double as cosine"
        if reading is None
        else f"select persona, avg(cosine) as cosine {reading.pairs} group by persona"
    )
    ask = judged.select if reading is None else judged.leakage
    found = ask(
        f"""select {LABEL} as label from rates as r left join ({cosines}) as l using (persona)
        group by persona, role
        order by {PLACE}, {ORDERS[order]}, persona""",
        **({} if reading is None else reading.values),
    )
    return found["label"].to_list()


def show_matrix(judged: Judged, personas: list[str], only: str | None = None) -> None:
    """The rate of every persona (of one, where `only` names it) in every cell of the grid."""
    rows = judged.select(
        f"""select g.lr, g.epochs, p.label as persona, p.role, c.regime, r.rate, r.clustered_low, r.clustered_high, r.clustered_method,
          r.wilson_low, r.wilson_high, r.k, r.n,
          r.n_questions, r.n_from, r.category
        from grid as g
        cross join (select distinct persona, role, {LABEL} as label from rates where coalesce(persona = $only, true)) as p
        left join cells as c using (lr, epochs)
        left join rates as r on r.lr = g.lr and r.epochs = g.epochs and r.persona = p.persona and r.role is not distinct from p.role
        order by g.lr, g.epochs, p.label""",
        only=only,
    )
    personas = [name for name in personas if name in set(rows["persona"])]
    if not personas:
        st.info(f"There are no rates of {plain(only)} in this sweep.", icon=":material/grid_off:")
        return
    facts = [
        "; ".join(sample(judged.sweep, rows.filter(pl.col("rate").is_not_null()))),
        *role_facts(rows),
        "grey: not in this lake; the 95% interval by question, and Wilson's, on hovering",
    ]
    cells = [f"{learning_rate(lr)} · {epochs:g}" for lr, epochs in rows.select("lr", "epochs").rows()]
    rows = rows.with_columns(pl.Series("cell", cells, dtype=pl.String), regime=pl.col("regime").replace(REGIMES)).drop("lr", "epochs")
    figure = charts.rate_matrix(rows, "cell", "persona", "learning rate · epochs", personas)
    charts.show(figure, "personas", "Marker rate of every persona in every cell", facts, MATRIX_ROW * max(LEAST_ROWS, len(personas)), runs=judged.runs)
