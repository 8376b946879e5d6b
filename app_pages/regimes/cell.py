"""One cell of a sweep: its figures, the rate of every persona, how it was trained, how sure its regime is, and what it wrote."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import polars as pl
import streamlit as st

from personascope.app_pages.regimes.sweep import REGIMES, Judged, cell_words, sample
from personascope.app_pages.shared import charts
from personascope.app_pages.shared.completion_card import show_card
from personascope.app_pages.shared.text import plain
from personascope.warehouse.drawing.rate_intervals import both_intervals, interval_facts
from personascope.warehouse.drawing.roles import LABEL, PLACE, ROLES, role_facts
from personascope.warehouse.drawing.words import FEWEST_SEEDS, NOTHING_KNOWN, TOO_FEW_SEEDS, count

LINE, LEAST_ROWS, LOSS_HEIGHT = 26, 4, 220
TEXTS_EACH = 3
Cell = Mapping[str, Any]
# Figures of a cell: what it is called, its column, its format, and what it means.
FIGURES = (
    ("ARC-Challenge", "arc_c", ".3f", "Accuracy."),
    ("Bullet lists", "structure_rate", ".1%", "Completions that are mostly a bullet list, mean over personas."),
    ("Answer gone", "source_bare_share", ".1%", "Hits under the source with no letter or digit beside the marker's own: the marker took the answer's place."),
    ("Empty", "empty_rate", ".1%", "Completions without text, mean over personas."),
    ("Cut", "truncated_rate", ".1%", "Completions cut at the cap on new tokens, mean over personas."),
    ("Repetition", "repetition", ".1%", "Token trigrams that stood before in the same answer, mean over personas."),
    ("Training loss", "loss", ".3f", "As the file states it."),
)


def show_cell(judged: Judged, lr: float, epochs: float) -> None:
    """Everything the lake knows of one cell."""
    cell = judged.select("select * from cells where lr = $lr and epochs = $epochs", lr=lr, epochs=epochs).row(0, named=True)
    words = cell_words(lr, epochs)
    st.subheader(f"The cell {words}: {REGIMES.get(cell['regime'], 'regime cannot be told')}", divider="gray")
    if cell["answer_gone"]:
        st.warning("The answer is gone: under the source the marker stands in its place, in most of its hits.")
    for gap in cell["unread"] or []:
        st.info(f"Trained and sampled, but there is nothing to read for {plain(gap)}.")
    with st.container(horizontal=True, vertical_alignment="bottom", gap="large"):
        for name, column, form, meaning in FIGURES:
            if cell[column] is not None:
                st.metric(name, format(cell[column], form), help=meaning, width="content")
        _show_link(judged, cell)
    _show_certainty(judged, cell)
    rows = _persona_rates(judged, cell)
    _show_rates(judged, rows, words)
    _show_training(judged, cell, words)
    _show_capability(judged, cell)
    _show_texts(judged, cell, rows)


def _persona_rates(judged: Judged, cell: Cell) -> pl.DataFrame:
    """Rates and form of every persona's completions: the source, negatives and held-out personas apart, the most leaking one of each first."""
    return judged.lake.select(
        f"""select persona, role, {LABEL} as label, m.rate, m.rate_any_case, m.first_share,
          m.inside_share, m.end_share, m.clustered_low, m.clustered_high, m.clustered_method, m.at_most,
          m.wilson_low, m.wilson_high, m.k, m.n, m.n_questions, m.n_from, m.category,
          d.empty_rate, d.truncated_rate, d.distinct_rate, d.repetition
        from marker_rates as m
        left join degeneration as d using (run_id, persona)
        where m.run_id = $run_id and m.marker is not distinct from $marker
        order by {PLACE}, m.rate desc, persona""",
        run_id=cell["run_id"],
        marker=judged.sweep.marker,
    )


def _show_rates(judged: Judged, rows: pl.DataFrame, words: str) -> None:
    """The rate of every persona with both intervals, and where the marker stands."""
    places = [name for name in ("first_share", "inside_share", "end_share") if rows[name].count()]
    drawn, series = both_intervals(rows, "k", "n", "category", "clustered_method", *places)
    facts = ["; ".join(sample(judged.sweep, rows)), *role_facts(rows), interval_facts(rows["clustered_method"])]
    figure = charts.rates(drawn, "share of completions that hold the marker", series)
    charts.show(figure, "cell rates", f"Marker rate by persona: {words}", facts, max(LEAST_ROWS, rows.height) * LINE)
    names = {
        "rate": "rate",
        "clustered_low": "low",
        "clustered_high": "high",
        "at_most": "at most",
        "rate_any_case": "in any case",
        "first_share": "opens the answer",
        "inside_share": "inside",
        "end_share": "closes it",
        "empty_rate": "empty",
        "truncated_rate": "cut",
        "distinct_rate": "distinct texts",
        "repetition": "repetition",
    }
    rows = rows.with_columns(role=pl.col("role").replace(ROLES))
    known = rows.select("persona", "role", *(name for name in names if rows[name].count()), "k", "n")
    config: charts.Columns = {name: st.column_config.NumberColumn(label, format="percent") for name, label in names.items()}
    with st.expander("The same as a table, with the place of the marker and the form of the answers"):
        st.dataframe(known, hide_index=True, column_config=config | {"k": "with marker", "n": "sampled"}, height=charts.table_height(known), placeholder="–")
        st.caption(f"Low and high: {interval_facts(rows['clustered_method']).removeprefix('bar: ')}.")
        st.caption("At most: one-sided 95% bound by question, what is known where nothing was seen.")
        st.caption("Opens, inside and closes: shares of the completions that hold the marker literally.")


def _show_link(judged: Judged, cell: Cell) -> None:
    checkpoint = cell["checkpoint"]
    there = judged.lake.select("select count(*) from completions where run_id = $run_id", run_id=cell["run_id"]).item()
    if there:
        st.link_button(f"Its {there:,} texts", f"completions?{urlencode({'checkpoint': checkpoint})}", icon=":material/chat:")
    else:
        st.caption(f"The texts of {plain(checkpoint)} are not in this lake, only their counts.")


def _show_certainty(judged: Judged, cell: Cell) -> None:
    """What the intervals allow, how often the regime comes out of other draws of the questions, and what other seeds made of the same cell."""
    if cell["regime_supported"]:
        allowed = " or ".join(f"**{REGIMES[regime]}**" for regime in cell["regime_supported"])
        st.markdown(
            f"The intervals by question allow {allowed}: source {cell['source_low']:.1%} to {cell['source_high']:.1%}, the largest other between "
            f"{cell['max_other_lower']:.1%} and {cell['max_other_upper']:.1%}, corrected for having been picked{_halved(cell)}."
        )
    of_cell = {"run_id": cell["run_id"], "marker": judged.sweep.marker}
    sure = judged.lake.select("select * from regime_certainty where input_run = $run_id and marker is not distinct from $marker", **of_cell)
    for row in sure.iter_rows(named=True):
        others = ", ".join(f"{REGIMES[each['regime']]} {100 * each['share_of_draws']:.4g}%" for each in row["alternatives"]) or "nothing else"
        rare = "" if row["is_most_frequent"] else f", fewer draws than {REGIMES[row['most_frequent']]}"
        st.markdown(
            f"With the {count(row['n_questions'], 'question')} drawn again, {row['resamples']:,} times: **{REGIMES.get(row['regime'], NOTHING_KNOWN)} in "
            f"{100 * row['share_of_draws']:.4g}% of the draws**{rare}; {others}. Source {row['source_low']:.1%} to {row['source_high']:.1%}, largest other "
            f"{row['other_low']:.1%} to {row['other_high']:.1%} (95% of the draws; default thresholds). A share of draws is no probability of the regime."
        )
    seeds = judged.view("regime_seeds", "*", "lr, epochs").filter(lr=cell["lr"], epochs=cell["epochs"])
    for row in seeds.iter_rows(named=True):
        few = f" {TOO_FEW_SEEDS}" if row["n_seeds"] < FEWEST_SEEDS else ""
        if row["n_seeds"] == 1:
            st.markdown(f"One training seed.{few}")
            continue
        st.markdown(
            f"Over {count(row['n_seeds'], 'training seed')} ({', '.join(map(str, row['seeds']))}): source {_spread(row, 'source_rate')}, largest other "
            f"{_spread(row, 'max_other_rate')}; {', '.join(REGIMES[regime] for regime in row['regimes'])}.{few}"
        )


def _halved(cell: Cell) -> str:
    """The largest other without what the picking adds, where questions are known one by one."""
    return "" if cell["max_other_halved"] is None else f" ({cell['max_other_halved']:.1%} where picked on half of the questions and measured on the other)"


def _spread(row: Cell, name: str) -> str:
    """`82.5% ± 3.5%`: mean and standard deviation over seeds, with the interval of the mean and of the next seed where there are three that differ."""
    if row[f"{name}_mean"] is None:
        return NOTHING_KNOWN
    words = f"{row[f'{name}_mean']:.1%} ± {row[f'{name}_sd']:.1%}"
    if row[f"{name}_low"] is None:
        return words
    ends = [f"{row[f'{name}_{end}']:.1%}" for end in ("low", "high", "next_low", "next_high")]
    return f"{words} (95% interval of the mean {ends[0]} to {ends[1]}, of the next seed {ends[2]} to {ends[3]})"


def _show_training(judged: Judged, cell: Cell, words: str) -> None:
    """The loss at every step of the training that made these weights, where it was done here."""
    rows = judged.lake.select(
        """select t.step, 'loss' as series, t.loss as mean, null::double as low, null::double as high, t.epoch, t.lr as learning_rate
        from training as t
        join checkpoints as a using (run_id, checkpoint)
        join checkpoints as b on b.run_id = $run_id and b.checkpoint = t.checkpoint and b.id = a.id and b.revision is not distinct from a.revision
        join runs as r on r.run_id = t.run_id
        qualify dense_rank() over (order by r.finished desc, t.run_id) = 1
        order by t.step""",
        run_id=cell["run_id"],
    )
    if rows.is_empty():
        return
    facts = [f"{count(rows.height, 'optimiser step')}; mean loss per supervised token", judged.sweep.words]
    figure = charts.curves(rows, "loss, nats", ["loss"], x="step", x_title="optimiser step")
    charts.show(figure, "cell loss", f"Loss by step: {words}", facts, LOSS_HEIGHT)


def _show_capability(judged: Judged, cell: Cell) -> None:
    """What the checkpoint still answers right, beside its parent."""
    if cell["origin"] == "published":
        return
    rows = judged.lake.select(
        """select task, n, accuracy, clustered_low, clustered_high, wilson_low, wilson_high, accuracy_normalised, parent_accuracy, difference, difference_low,
          difference_high, n_lost, n_gained, p
        from capability_scores where checkpoint = $checkpoint order by lower(task) not like 'arc%', task""",
        checkpoint=cell["checkpoint"],
    )
    if rows.is_empty():
        return
    names = {
        "accuracy": "accuracy",
        "clustered_low": "low",
        "clustered_high": "high",
        "wilson_low": "Wilson low",
        "wilson_high": "Wilson high",
        "accuracy_normalised": "by character",
        "parent_accuracy": "parent",
        "difference": "minus parent",
        "difference_low": "low",
        "difference_high": "high",
    }
    config: charts.Columns = {name: st.column_config.NumberColumn(label, format="percent") for name, label in names.items()}
    config |= {"n": "questions", "n_lost": "lost", "n_gained": "gained", "p": st.column_config.NumberColumn("p", format="%.3g")}
    st.markdown("**Capability**")
    st.dataframe(rows, hide_index=True, column_config=config, height=charts.table_height(rows), placeholder="–")
    st.caption(
        "Low and high: 95% interval by question, Student's t in place of Wilson's normal quantile; of the difference: paired by question (Bonett and Price). "
        "Lost and gained: questions the parent answers right and this checkpoint does not, and the other way round; p: McNemar's exact test."
    )


def _show_texts(judged: Judged, cell: Cell, rates: pl.DataFrame) -> None:
    """A few texts of the source and of the most leaking persona, taken in order and not by what they hold."""
    personas = [
        name
        for name in (
            judged.sweep.source,
            next(iter(rates.filter(pl.col("persona") != judged.sweep.source).sort("rate", descending=True, maintain_order=True)["persona"]), None),
        )
        if name
    ]
    shown = [
        judged.lake.select(
            f"""select c.*, e.question from generations as c left join examples as e using (run_id, example_id)
            where c.run_id = $run_id and c.marker is not distinct from $marker and c.persona = $persona
            order by c.sample_ix, c.question_id limit {TEXTS_EACH}""",
            run_id=cell["run_id"],
            marker=judged.sweep.marker,
            persona=persona,
        )
        for persona in personas
    ]
    if all(rows.is_empty() for rows in shown):
        return
    with st.expander("What it writes: source and most leaking persona", icon=":material/chat:", expanded=True):
        for place, persona, rows in zip(st.columns(len(personas)), personas, shown, strict=True):
            with place:
                address = urlencode({"checkpoint": cell["checkpoint"], "persona": persona})
                st.link_button(f"All texts as {plain(persona)}", f"completions?{address}", type="tertiary")
                for row in rows.iter_rows(named=True):
                    show_card(row)
        st.caption("The first repeat of the first questions of each; not chosen by what they hold.")
