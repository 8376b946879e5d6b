"""What steering along the direction does, section of the page Directions: verdicts, dose response beside controls, and effects over layers and doses."""

import polars as pl
import streamlit as st

from personascope.app_pages.directions.reading import Reading
from personascope.app_pages.shared import address, charts
from personascope.app_pages.shared.lake import Source
from personascope.app_pages.shared.text import plain
from personascope.warehouse.drawing.figures import dose_response
from personascope.warehouse.drawing.words import count, count_range

HEIGHT, ROW = 120, 26
SHOWN = {
    "marker_log_prob": "log-probability of the marker",
    "marker_rate": "marker rate",
    "answer_nll": "log-perplexity of the answer",
    "repetition": "repetition",
}


def show_steering(lake: Source, reading: Reading) -> None:
    """The sentences of `persona_gate` and the effects of the direction, for a run, way and outcome that the reader chooses."""
    st.subheader("Steering along it", divider="gray")
    arms = lake.select(
        """select e.run_id, e.subject, e.mode, e.forced, e.persona, e.outcome, list(distinct e.layer order by e.layer) filter (e.layer is not null) as layers
        from steering_effects as e where directions_run = $run and direction = $direction and site = $site
        group by e.run_id, e.subject, e.mode, e.forced, e.persona, e.outcome order by e.run_id, e.mode, e.persona, e.outcome""",
        run=reading.run_id,
        direction=reading.direction,
        site=reading.site,
    )
    if arms.is_empty():
        st.info("Nothing was steered along this direction yet: `personascope extract steering` adds it, projects it out or caps it.", icon=":material/tune:")
        return
    for verdict in lake.select(
        """select p.verdict from persona_gate as p join runs as r using (run_id)
        where p.direction = $direction and p.run_id in (select run_id from steering where directions_run = $run)
        order by p.question, p.mode, p.layer, p.run_id""",
        run=reading.run_id,
        direction=reading.direction,
    )["verdict"]:
        st.markdown(f"- {plain(verdict)}")
    chosen = _choose(arms, reading)
    layers = chosen["layers"].explode().drop_nulls().unique().sort().to_list()
    run, mode, persona, outcome = (chosen[name][0] for name in ("run_id", "mode", "persona", "outcome"))
    layer = reading.layer if reading.layer in layers else layers[len(layers) // 2] if layers else None
    drawing = dose_response.response(lake, run, reading.direction, layer, mode, persona, outcome)
    if drawing is not None:
        charts.show_drawing(drawing)
    _show_layers(lake, reading, chosen)


def _choose(arms: pl.DataFrame, reading: Reading) -> pl.DataFrame:
    """The rows of one run, way of steering, persona and outcome."""
    left, middle, right = st.columns(3)
    ways = {
        f"{run} {mode}": f"{subject}: {mode.replace('_', ' ')}{', answers as given' if forced else ''} · {run}"
        for run, subject, mode, forced in arms.select("run_id", "subject", "mode", "forced").unique(maintain_order=True).rows()
    }
    run, mode = address.select("Run", list(ways), "steering_run", labels=ways, where=left).rsplit(" ", 1)
    found = arms.filter(run_id=run, mode=mode)
    personas = [each for each in found["persona"].unique(maintain_order=True) if each != "task"]
    first = reading.persona if reading.persona in personas else "all"
    personas = sorted(personas, key=lambda each: each != first)
    persona = address.select("Asked as", personas, "steered_persona", where=middle)
    found = found.filter(persona=persona)
    outcomes = {
        name: SHOWN.get(name, name.replace("_", " "))
        for name in sorted(found["outcome"], key=lambda name: (name not in SHOWN, name != "marker_log_prob", name))
    }
    outcome = address.select("Outcome", list(outcomes), "outcome", labels=outcomes, where=right)
    return found.filter(outcome=outcome)


def _show_layers(lake: Source, reading: Reading, chosen: pl.DataFrame) -> None:
    """The effect at every layer and dose, and the same as a table with controls and what is left of the model."""
    subject, run, mode, persona, outcome, forced = chosen.select("subject", "run_id", "mode", "persona", "outcome", "forced").row(0)
    rows = lake.select(
        """select layer, dose, difference, low, high, control_low, control_high, n_controls, control_p_adjusted, exp(nll_change) as perplexity,
          capability_change, is_broken, n, n_clusters
        from steering_effects
        where run_id = $run and direction = $direction and mode = $mode and persona = $persona and outcome = $outcome order by layer, dose""",
        run=run,
        direction=reading.direction,
        mode=mode,
        persona=persona,
        outcome=outcome,
    )
    drawn = rows.filter(pl.col("layer").is_not_null())
    if drawn["layer"].n_unique() > 1:
        sure = count(drawn.filter(pl.col("control_p_adjusted") <= 0.05).height, "cell")
        facts = [
            f"{mode.replace('_', ' ')}; {dose_response.asked(persona, forced)}",
            f"{count_range(rows['n'], 'answer')} of {count_range(rows['n_clusters'], 'question')}, paired with dose 0; intervals in the table",
            f"{sure} of {drawn.height} beyond control directions at p ≤ 0.05, adjusted for layers",
        ]
        figure = charts.heat_map(drawn, "dose", "layer", "difference", ("dose", "layer, counted from 0", "change"))
        title = f"{SHOWN.get(outcome, outcome.replace('_', ' ')).capitalize()} by layer and dose: {subject}, {reading.direction}"
        charts.show(figure, "steering by layer and dose", title, facts, HEIGHT + ROW * drawn["layer"].n_unique(), runs=(run,))
    config: charts.Columns = {
        "difference": st.column_config.NumberColumn("change", format="%+.3f"),
        "low": st.column_config.NumberColumn("low (95%)", format="%+.3f"),
        "high": st.column_config.NumberColumn("high (95%)", format="%+.3f"),
        "control_low": st.column_config.NumberColumn("controls, 2.5%", format="%+.3f"),
        "control_high": st.column_config.NumberColumn("controls, 97.5%", format="%+.3f"),
        "n_controls": "controls",
        "control_p_adjusted": st.column_config.NumberColumn("p, adjusted for layers", format="%.2g", help="Rank among control directions, max-T over layers."),
        "perplexity": st.column_config.NumberColumn("perplexity, times", format="%.2f", help="Of the answers under the unsteered model, over that at dose 0."),
        "capability_change": st.column_config.NumberColumn("right answers, change", format="%+.2f"),
        "is_broken": st.column_config.CheckboxColumn("breaks the model"),
        "n": "answers",
        "n_clusters": "questions",
    }
    st.dataframe(rows, hide_index=True, column_config=config, height=charts.table_height(rows), placeholder="–")
