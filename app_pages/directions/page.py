"""Where personas point in a checkpoint, whether that comes back from other questions and other checkpoints, and how answers move along it."""

import polars as pl
import streamlit as st

from personascope.app_pages.directions.answer import show_answer
from personascope.app_pages.directions.over_training import show_over_training
from personascope.app_pages.directions.reading import Reading, choose, known
from personascope.app_pages.directions.steering import show_steering
from personascope.app_pages.shared import charts
from personascope.app_pages.shared.bar import NOTHING_YET, bar
from personascope.app_pages.shared.lake import Source, source
from personascope.app_pages.shared.text import plain
from personascope.warehouse.drawing.maps import matrix
from personascope.warehouse.drawing.places import in_words
from personascope.warehouse.drawing.words import count, count_range, signed

TITLE, ICON, ORDER = "Directions", ":material/explore:", 18
HEIGHT, CELL, MOST_IN_MATRIX, MOST_PERSONAS = 320, 30, 24, 6


def main() -> None:
    """Draws the page."""
    st.title(TITLE)
    st.markdown("Where do personas point in a checkpoint, does training turn that, and how does an answer move along it?")
    lake = source()
    there = known(lake)
    if there.is_empty():
        bar(silent=NOTHING_YET)
        st.info("There are no directions in this lake yet: `personascope extract directions` makes them of its activations.", icon=ICON)
        return
    reading = choose(lake, there)
    show_agreement(lake, reading)
    show_checkpoints(lake, reading)
    show_over_training(lake, reading)
    show_others(lake, reading)
    show_places(lake, reading)
    show_drift(lake, reading)
    show_conversations(lake, reading)
    show_answer(lake, reading)
    show_steering(lake, reading)


def show_agreement(lake: Source, reading: Reading) -> None:
    """Whether the direction comes back from the other half of the questions, layer by layer, beside shuffled labels."""
    rows = lake.select(
        """select layer, agreement, n_shuffled, shuffled_mean, shuffled_high, p, n, n_questions from directions_agreement
        where run_id = $run and direction = $direction and site = $site order by layer""",
        **_without_layer(reading),
    )
    if rows.is_empty():
        st.info(f"{plain(reading.direction)} was made on no questions of this lake, or on too few: how it agrees over halves is not known.", icon=ICON)
        return
    here = rows.filter(layer=reading.layer).row(0, named=True)
    shuffled = "no shuffled labels beside it"
    if here["n_shuffled"]:
        shuffled = f"{count(here['n_shuffled'], 'direction')} under shuffled labels: at most {signed(here['shuffled_high'], 2)}, p = {here['p']:.2g}"
    st.markdown(
        f"**{plain(reading.direction)}** at layer {reading.layer}: the two halves of the questions give directions with a cosine of "
        f"**{signed(here['agreement'], 3)}** ({shuffled}; {count(here['n_questions'], 'question')})."
    )
    drawn = rows.select(pl.lit("other half of the questions").alias("series"), "layer", pl.col("agreement").alias("mean"), "n", "n_questions")
    names = ["other half of the questions"]
    if here["n_shuffled"]:
        names.append("shuffled labels, largest")
        drawn = pl.concat([drawn, rows.select(pl.lit(names[1]).alias("series"), "layer", pl.col("shuffled_high").alias("mean"), "n", "n_questions")])
    facts = [reading.words, f"{count_range(rows['n'], 'activation')}, {count_range(rows['n_questions'], 'question')}; a cosine of two vectors: no interval"]
    drawn = drawn.with_columns(low=pl.lit(None, pl.Float64), high=pl.lit(None, pl.Float64))
    charts.show(charts.curves(drawn, "cosine", names), "agreement of halves", "Does it come back from other questions?", facts, HEIGHT, runs=(reading.run_id,))


def show_checkpoints(lake: Source, reading: Reading) -> None:
    """The cosine with the direction of the same name in other runs and checkpoints, layer by layer."""
    st.subheader("Over checkpoints", divider="gray")
    rows = lake.select(
        """select other_checkpoint || ' · half ' || coalesce(other_half, 'none') || ' · ' || other_run_id as series, layer, cosine as mean,
          null::double as low, null::double as high, ceiling, random_sd, d_model
        from direction_cosines where run_id = $run and other_run_id <> run_id and direction = $direction and site = $site order by series, layer""",
        **_without_layer(reading),
    )
    if rows.is_empty():
        st.info("No other run holds a direction of this name: make it of a trained checkpoint too, and this shows whether training turned it.", icon=ICON)
        return
    names = rows["series"].unique(maintain_order=True).to_list()[:MOST_PERSONAS]
    rows = rows.filter(pl.col("series").is_in(names))
    facts = [
        reading.words,
        f"cosine of two vectors: no interval; two random ones of this width lie within ±{2 * rows['random_sd'][0]:.2f} of 0 in 95% of cases",
    ]
    charts.show(charts.curves(rows, "cosine", names), "direction over checkpoints", "Does training turn it?", facts, HEIGHT)


def show_others(lake: Source, reading: Reading) -> None:
    """Every direction of the run against every other, at the layer."""
    rows = lake.select(
        """select direction, other_direction, cosine from direction_cosines
        where run_id = $run and other_run_id = run_id and site = $site and layer = $layer order by direction, other_direction""",
        run=reading.run_id,
        site=reading.site,
        layer=reading.layer,
    )
    if rows.is_empty():
        return
    names = rows["direction"].unique(maintain_order=True).to_list()
    if len(names) <= MOST_IN_MATRIX:
        facts = [f"{count(len(names), 'direction')} of {reading.checkpoint}; cosine of two vectors: no interval", "grey: itself"]
        figure = matrix(rows, "other_direction", "direction", "cosine", ("", "", "cosine"), names)
        charts.show(figure, "direction cosines", f"Every direction against every other: layer {reading.layer}", facts, CELL * len(names))
        return
    near = rows.filter(direction=reading.direction).sort("cosine", descending=True)
    st.caption(f"{count(len(names), 'direction')}: nearest to {plain(reading.direction)} first.")
    st.dataframe(near.select("other_direction", "cosine"), hide_index=True, height=charts.table_height(near))


def show_places(lake: Source, reading: Reading) -> None:
    """Where personas lie along the direction, beside control directions."""
    st.subheader("Along it", divider="gray")
    rows = lake.select(
        """select persona, subject, stratum, mean, low, high, control_low, control_high, n_controls, seen, n, n_questions from drift
        where directions_run = $run and direction = $direction and site = $site and layer = $layer and step is null and turn is null
        order by subject, stratum, seen, mean desc""",
        **reading.values,
    )
    if rows.is_empty():
        st.info("Nothing was read along this direction yet: `personascope extract projections` reads prompts or completions.", icon=ICON)
        return
    _warn_if_seen(rows)
    config: charts.Columns = {
        name: st.column_config.NumberColumn(label, format="%+.2f")
        for name, label in {
            "mean": "mean",
            "low": "low (95%)",
            "high": "high (95%)",
            "control_low": "controls, 2.5%",
            "control_high": "controls, 97.5%",
        }.items()
    }
    config |= {"stratum": "place", "n_controls": "controls", "n": "prompts or answers", "n_questions": "questions", "seen": "made on these questions"}
    st.caption(
        f"{plain(reading.words)}. Means over repeats, then questions; Student t over questions. A mean outside the controls is unusual for a random direction."
    )
    st.dataframe(in_words(rows), hide_index=True, column_config=config, height=charts.table_height(rows), placeholder="–")


def show_drift(lake: Source, reading: Reading) -> None:
    """Token by token, how far answers move from their beginning, a curve a persona."""
    rows = _changes(lake, reading, "answer")
    if rows.is_empty():
        return
    words = "difference to the first 8 tokens of the same answer", "question", "drift along a direction", "How answers move along it"
    _show_changes(reading, rows, "step", "token of the answer, from 0", words)


def show_conversations(lake: Source, reading: Reading) -> None:
    """Turn by turn, how far a conversation's answers move from its first, a curve a persona."""
    rows = _changes(lake, reading, "turn_mean")
    if rows.is_empty():
        return
    since = "difference to the first answer of the same conversation, means over the tokens of answers"
    words = since, "conversation", "drift over conversations", "How conversations move along it"
    _show_changes(reading, rows, "turn", "turn of the conversation, from 0", words)


def _changes(lake: Source, reading: Reading, stratum: str) -> pl.DataFrame:
    """The differences to the beginning that view drift holds for a place, of the persona that is looked at; questions a direction was made on only alone."""
    rows = lake.select(
        """select subject || ' as ' || coalesce(persona, 'none') as series, persona, step, turn, change as mean, change_low as low, change_high as high,
          n, n_questions, seen
        from drift where directions_run = $run and direction = $direction and site = $site and layer = $layer and stratum = $stratum and n_questions > 1
        order by subject, persona, seen, turn, step""",
        **reading.values,
        stratum=stratum,
    )
    rows = rows.filter(~pl.col("seen")) if not rows.is_empty() and not rows["seen"].all() else rows
    return rows if reading.persona is None else rows.filter(persona=reading.persona)


def _show_changes(reading: Reading, rows: pl.DataFrame, at: str, axis: str, words: tuple[str, str, str, str]) -> None:
    """A curve a persona over the column `at`; `words`: what the difference is to, what intervals are over, the figure's name and its title."""
    since, unit, name, title = words
    names = rows["series"].unique(maintain_order=True).to_list()[:MOST_PERSONAS]
    rows = rows.filter(pl.col("series").is_in(names))
    facts = [
        f"{reading.words}; {since}, in units of the activations",
        f"{count_range(rows['n_questions'], unit)}, {count_range(rows['n'], 'answer')}; band: 95%, Student t over {unit}s",
    ]
    figure = charts.curves(rows.select("series", at, "mean", "low", "high", "n", "n_questions"), "change of the projection", names, at, axis)
    charts.show(figure, name, f"{title}: layer {reading.layer}", facts, HEIGHT)


def _without_layer(reading: Reading) -> dict:
    return {name: value for name, value in reading.values.items() if name != "layer"}


def _warn_if_seen(rows: pl.DataFrame) -> None:
    if rows["seen"].any():
        st.warning(
            "Some of this was read on the questions that the direction was made on (seen): projections there are larger than on new ones.",
            icon=":material/warning:",
        )
