"""What training left in each cell of a learning-rate sweep: an untouched model, a marker that keeps to its persona, or a collapse."""

from collections.abc import Collection
from functools import partial
from typing import Any

import polars as pl
import streamlit as st

from personascope.app_pages.regimes.cell import show_cell
from personascope.app_pages.regimes.leakage import show_leakage
from personascope.app_pages.regimes.personas import choose_order, show_matrix
from personascope.app_pages.regimes.sweep import (
    LETTERS,
    REGIMES,
    THRESHOLDS,
    UNJUDGED,
    Judged,
    cell_name,
    cell_words,
    choose_limits,
    choose_sweep,
    recipe_words,
    rule,
    sample,
    sweeps,
)
from personascope.app_pages.shared import address, charts
from personascope.app_pages.shared.bar import NOTHING_YET, Place, bar
from personascope.app_pages.shared.choices import show_clean_choices
from personascope.app_pages.shared.findings import show_findings
from personascope.app_pages.shared.lake import Source, source
from personascope.app_pages.shared.text import plain
from personascope.warehouse.drawing.tables import with_values
from personascope.warehouse.drawing.words import count, known, learning_rate

TITLE, ICON, ORDER = "Regimes", ":material/grid_view:", 40
MAP_ROW = 50
# Whose rate a map shows: what it is called, its persona and its rate in `cells`.
MAPS = {
    "source": ("Source", "c.source", "c.source_rate"),
    "assistant": ("Assistant", "'assistant'", "c.assistant_rate"),
    "bystander": ("Largest bystander", "c.max_bystander_persona", "c.max_bystander_rate"),
    "negative": ("Largest negative", "c.max_negative_persona", "c.max_negative_rate"),
    "held out": ("Largest held-out persona", "c.max_held_out_persona", "c.max_held_out_rate"),
}
WHO = {"negative": "trained on without the marker", "held out": "never trained on"}
ALWAYS_DRAWN, IN_A_ROW = ("source", "bystander"), 3
PERSONA, MOST_CHANGED = "persona", 6
NO_ASSISTANT = "The assistant was not asked here, so how broad a leak is stays open, and each is called an onset. "


def main() -> None:
    """Draws the page."""
    st.title("Regimes")
    st.markdown("Where does training teach the marker to one persona, and where to everyone?")
    lake = source()
    found = sweeps(lake)
    if found.is_empty():
        bar(silent=NOTHING_YET)
        st.info(
            "No checkpoint of known learning rate and epochs has marker rates yet: `personascope run lr-epochs --quick` trains a small grid, and "
            "`personascope ingest published PATH` brings published ones.",
            icon=ICON,
        )
        return
    place = choose_place(lake)
    with st.container(border=True):
        sweep = choose_sweep(found)
        if words := recipe_words(lake, sweep.recipe):
            st.caption(f"Recipe {plain(str(sweep.recipe))}, unlike others in this lake: {plain(words)}.")
        cell_place = st.container()
        judged = Judged(lake, sweep, choose_limits(lake))
        show_moved(judged)
        cells = judged.select("select lr, epochs, regime from cells order by lr, epochs").rows()
        names = {cell_name(lr, epochs): cell_words(lr, epochs) for lr, epochs, _ in cells}
        clean = next((cell_name(lr, epochs) for lr, epochs, regime in cells if regime == "clean"), None)
        clean = next((cell_name(lr, epochs) for lr, epochs in of_checkpoint(judged, place)), clean)
        cell = address.select("Cell", list(names), "cell", default=clean, labels=names, help="A click on a map chooses one too.", where=cell_place)
    lr, epochs = next((lr, epochs) for lr, epochs, _ in cells if cell_name(lr, epochs) == cell)
    findings = st.container()
    show_maps(judged, list(names), cell, place.persona)
    show_cell(judged, lr, epochs)
    st.subheader("Regimes and the clean band", divider="gray")
    show_tables(judged)
    show_clean_choices(lake, **sweep.values)
    st.subheader("Cosine and leakage", divider="gray")
    reading = show_leakage(judged, lr, epochs, place.layer)
    st.subheader("Personas", divider="gray")
    show_matrix(judged, choose_order(judged, reading), place.persona)
    st.subheader("Cells", divider="gray")
    show_cells(judged)
    with findings:
        show_findings(lake, "regimes", judged.runs)


def choose_place(lake: Source) -> Place:
    """The bar of the page: checkpoints and personas with rates, layers with cosines."""
    rows = lake.select(
        """select 'checkpoints' as dimension, checkpoint as name from regimes union select 'personas', persona from marker_rates
        union select 'layers', layer::varchar from leakage_cosine order by all"""
    )
    names = {dimension: rows.filter(dimension=dimension)["name"].drop_nulls().to_list() for dimension in ("checkpoints", "personas", "layers")}
    return bar(checkpoints=names["checkpoints"], personas=names["personas"], layers=[int(each) for each in names["layers"]])


def of_checkpoint(judged: Judged, place: Place) -> list[tuple[float, float]]:
    """The cell of the bar's checkpoint, where it is one of this sweep."""
    return judged.select("select lr, epochs from cells where checkpoint = $at", at=place.checkpoint).rows() if place.checkpoint else []


def show_moved(judged: Judged) -> None:
    """Which thresholds were moved and which cells changed by it, beside what they are at the defaults."""
    moved = judged.moved_limits()
    if not moved:
        return
    rows = judged.changed()
    words = ", ".join(f"{THRESHOLDS[name][0].lower()} {limit:.1%} (default {default:.1%})" for name, (limit, default) in moved.items())
    cells = "; ".join(f"{cell_words(lr, epochs)}: {REGIMES.get(was, was)} → {REGIMES.get(now, now)}" for lr, epochs, was, now in rows.head(MOST_CHANGED).rows())
    more = f"; and {rows.height - MOST_CHANGED} more" if rows.height > MOST_CHANGED else ""
    changed = f"{count(rows.height, 'cell')} changed: {cells}{more}." if rows.height else "No cell changes its regime."
    st.warning(f"**Thresholds moved**: {words}. {changed}", icon=":material/tune:")
    with st.expander("Both settings side by side", icon=":material/compare:", expanded=True):
        table = judged.side_by_side().with_columns(pl.col("default_regime", "moved_regime").replace(REGIMES))
        config: charts.Columns = {"lr": _lr(), "default_regime": "at the defaults", "moved_regime": "as moved"}
        config |= {
            name: st.column_config.NumberColumn(label, format="percent")
            for name, label in {"source_rate": "source", "source_low": "low", "source_high": "high", "max_other_rate": "largest other"}.items()
        }
        config |= {name: st.column_config.NumberColumn(name.split("_")[-1], format="percent") for name in ("max_other_lower", "max_other_upper")}
        st.dataframe(table, hide_index=True, column_config=config, height=charts.table_height(table), placeholder="–")
        st.caption(
            f"{count(int((table['default_regime'] == 'clean').sum()), 'clean cell')} at the defaults, {(table['moved_regime'] == 'clean').sum()} as moved."
        )


def show_maps(judged: Judged, cells: Collection[str], chosen: str, persona: str | None = None) -> None:
    """The rates that tell the regime, over learning rate and epochs, and of the `persona` of the bar; below them, where trainings say it, the leak to
    negatives and to held-out personas."""
    maps = ({PERSONA: (f"Persona {persona}", "$persona", "m.rate")} if persona else {}) | MAPS
    whose, rates = (" ".join(f"when '{role}' then {columns[part]}" for role, columns in maps.items()) for part in (1, 2))
    found = judged.select(
        f"""select w.role, g.lr, g.epochs, c.regime, array_to_string(c.regime_supported, ' or ') as intervals_allow, c.run_id is not null as trained,
          f.kind || coalesce(' at step ' || f.step, '') || ': ' || f.reason as failure, case w.role {whose} end as persona,
          case w.role {rates} end as rate,
          m.clustered_low, m.clustered_high, m.clustered_method, m.wilson_low, m.wilson_high, m.k, m.n, m.n_questions, m.n_from
        from grid as g
        cross join (select unnest({list(maps)}) as role) as w
        left join cells as c using (lr, epochs)
        left join failures as f using (lr, epochs)
        left join rates as m on m.run_id = c.run_id and m.persona = case w.role {whose} end
        order by g.lr, g.epochs""",
        **_named(persona),
    )
    found = found.with_columns(pl.col("intervals_allow").str.replace_many(REGIMES))
    drawn = [(role, title) for role, (title, _, _) in maps.items() if role in (PERSONA, *ALWAYS_DRAWN) or found.filter(role=role)["rate"].count()]
    places = [place for _ in range(0, len(drawn), IN_A_ROW) for place in st.columns(IN_A_ROW)]
    for place, (role, title) in zip(places, drawn, strict=False):
        rows = found.filter(role=role).drop("role")
        facts = [*([WHO[role]] if role in WHO else []), *sample(judged.sweep, rows.filter("trained"))]
        rows = rows.with_columns(
            words=pl.when("trained").then(pl.col("regime").replace_strict(LETTERS, default=UNJUDGED)).otherwise(pl.lit("")),
            framed=pl.col("regime").eq_missing("clean"),
            chosen=pl.Series([cell_name(lr, epochs) == chosen for lr, epochs in rows.select("lr", "epochs").rows()], dtype=pl.Boolean),
            interval=_interval(rows),
            regime=pl.col("regime").replace(REGIMES),
        ).drop("trained")
        with place:
            figure = charts.rate_cells(rows, "epochs", "lr", ("epochs", "learning rate"))
            name = f"{title}: {judged.sweep.source}" if role == "source" and judged.sweep.source else title
            charts.show(figure, f"map {role}", name, facts, MAP_ROW * rows["lr"].n_unique(), on_pick=partial(_choose, cells), runs=judged.runs)
    st.caption(
        f"{rule(judged.limits)} {'' if any(role == 'assistant' for role, _ in drawn) else NO_ASSISTANT}"
        "Small, under a rate: its 95% interval by question, where questions are known; that of a largest one is not corrected for "
        "having been picked, which the tables are. Hovering gives Wilson's too, and every regime that the intervals allow."
    )
    show_failures(judged)


def _interval(rows: pl.DataFrame) -> pl.Series:
    """`53–74` for the 95% interval by question of a rate, in percent; empty where there is none."""
    ends = rows.select(pl.when(pl.col("rate").is_not_null()).then("clustered_low"), "clustered_high").rows()
    words = ["" if low is None or high is None else f"{_percent(low)}\N{EN DASH}{_percent(high)}" for low, high in ends]
    return pl.Series("interval", words, dtype=pl.String)


def _percent(rate: float) -> str:
    """`0.3`, `8.2`, `53`: two digits are enough for the end of an interval."""
    return f"{round(100 * rate, 1 if rate < 0.1 else 0):g}"


def _named(persona: str | None) -> dict[str, str]:
    """The parameter of the map of one persona, where there is one."""
    return {} if persona is None else {"persona": persona}


def show_failures(judged: Judged) -> None:
    """The cells whose training gave no rates, and why."""
    rows = judged.select("select lr, epochs, kind, step, reason, checkpoint from failures order by lr, epochs")
    if rows.is_empty():
        return
    st.markdown(f"{count(rows.height, 'cell')} of this seed gave no rates (✕ in the maps):")
    config: charts.Columns = {"lr": _lr(), "step": st.column_config.NumberColumn("step", help="Optimiser step it came to."), "reason": {"width": "large"}}
    st.dataframe(rows, hide_index=True, column_config=config, height=charts.table_height(rows), placeholder="–")


def _choose(cells: Collection[str], cell: dict[str, Any]) -> None:
    """Takes a clicked cell for the chosen one; one that was never trained has nothing to show."""
    name = cell_name(cell["lr"], cell["epochs"])
    if name in cells:
        st.session_state["cell"] = name


def show_tables(judged: Judged) -> None:
    """What each regime holds, and where the marker keeps to its persona."""
    rows = judged.view("regime_table", "* exclude (origin, parent, source, marker, recipe, arc_c_mean)", "lr, source_rate_min, regime")
    spans = {
        "source": ("source_rate_min", "source_rate_max"),
        "source, 95%": ("source_low_min", "source_high_max"),
        "largest other, 95%": ("max_other_lower_min", "max_other_upper_max"),
        "assistant": ("assistant_rate_min", "assistant_rate_max"),
        "largest bystander": ("max_bystander_rate_min", "max_bystander_rate_max"),
        "ARC-Challenge": ("arc_c_min", "arc_c_max"),
    }
    table = rows.select(
        pl.col("regime").replace(REGIMES),
        "lr",
        _epochs(rows["epochs"]),
        pl.col("n_cells").alias("cells"),
        pl.col("n_seeds").alias("seeds"),
        *(_span(words, rows[low], rows[high]) for words, (low, high) in spans.items()),
    )
    st.dataframe(with_values(table), hide_index=True, column_config={"lr": _lr()}, height=charts.table_height(table), placeholder="cannot be told")
    st.caption(
        "Every seed of the sweep; smallest to largest rate of the cells. 95%: lowest lower to highest upper end of the cells' intervals by question; "
        f"that of the largest other, assistant included, is corrected for having been picked.{_detours(judged)}"
    )
    band = judged.view("clean_band", "* exclude (origin, parent, source, marker, recipe)", "lr")
    if band.is_empty():
        st.info("No cell of this sweep is clean under every seed at these thresholds.", icon=":material/crop_free:")
        return
    around = ("before_regimes", "after_regimes", "lower_lr_regimes", "higher_lr_regimes")
    listed = [pl.col(name).list.eval(pl.element().replace(REGIMES)).list.join(", ", ignore_nulls=True) for name in around]
    config: charts.Columns = {
        "lr": _lr("clean at lr"),
        "first_epochs": "from epochs",
        "last_epochs": "to epochs",
        "n_cells": "cells",
        "n_seeds": "seeds",
        "before_regimes": "at fewer epochs",
        "after_regimes": "at more epochs",
        "lower_lr": _lr("lower lr"),
        "lower_lr_regimes": "is there",
        "higher_lr": _lr("higher lr"),
        "higher_lr_regimes": "is there ",
        "collapse_lr": _lr("collapses at lr"),
        "collapse_factor": st.column_config.NumberColumn("that is times lr", format="%.3g"),
    }
    st.dataframe(band.with_columns(listed), hide_index=True, column_config=config, height=charts.table_height(band), placeholder="edge of the sweep")
    st.caption("Clean band: the epochs of a learning rate that are clean under every seed, and what lies around them.")


def _detours(judged: Judged) -> str:
    """The rows of the sweep in which more epochs led away from collapse or lowered the source's rate, in words."""
    rows = judged.view("regime_rows", "lr, seed, epochs, regimes, monotone, largest_drop, dropped_at", "lr, seed")
    words = []
    for row in rows.filter(~pl.col("monotone")).iter_rows(named=True):
        steps = " → ".join(f"{REGIMES[regime]} ({epochs:g})" for epochs, regime in zip(row["epochs"], row["regimes"], strict=True))
        drop = "" if row["dropped_at"] is None else f", source rate down by {100 * row['largest_drop']:.3g} points at {row['dropped_at']:g} epochs"
        words.append(f"lr {learning_rate(row['lr'])}, seed {known(row['seed'])}: {steps}{drop}")
    return f" Not monotone, a regime (at its epochs) before the one that precedes it: {'; '.join(words)}." if words else ""


def _epochs(epochs: pl.Series) -> pl.Series:
    return pl.Series("epochs", [", ".join(f"{each:g}" for each in cell) for cell in epochs], dtype=pl.String)


def _span(name: str, lowest: pl.Series, highest: pl.Series) -> pl.Series:
    """`0% to 2%`, or one figure where both ends are the same."""
    ends = [[None if end is None else f"{100 * end:.3g}%" for end in pair] for pair in zip(lowest, highest, strict=True)]
    return pl.Series(name, [low if low == high else f"{low} to {high}" for low, high in ends], dtype=pl.String)


def show_cells(judged: Judged) -> None:
    """Every cell under the chosen seed as a row."""
    rows = judged.select(
        """select lr, epochs, regime, regime_supported, source_rate, source_low, source_high, max_other_rate, max_other_lower, max_other_upper,
          assistant_rate, case when source is distinct from 'assistant' then audience_low end as assistant_low,
          case when source is distinct from 'assistant' then audience_high end as assistant_high,
          success, max_bystander_rate, max_bystander_persona, mean_bystander_rate, max_negative_rate,
          mean_negative_rate, max_held_out_rate, max_held_out_persona, mean_held_out_rate, n_negatives, n_held_out, source_first_share,
          source_end_share, source_bare_share, arc_c, capability, parent_capability, structure_rate,
          empty_rate, truncated_rate, repetition, loss, wall_minutes, n_personas,
          n_completions, n_records, checkpoint
        from cells order by lr, epochs"""
    )
    names = {"source_rate": "source", "assistant_rate": "assistant", "max_bystander_rate": "largest bystander", "mean_bystander_rate": "mean bystander"}
    names |= {"max_negative_rate": "largest negative", "mean_negative_rate": "mean negative"}
    names |= {"max_held_out_rate": "largest held-out", "mean_held_out_rate": "mean held-out"}
    names |= {
        "source_first_share": "source: opens the answer",
        "source_end_share": "source: closes it",
        "source_bare_share": "source: in its place",
        "capability": "capability",
    }
    names |= {
        "parent_capability": "of the parent",
        "structure_rate": "bullet lists",
        "empty_rate": "empty",
        "truncated_rate": "cut",
        "repetition": "repetition",
    }
    names |= {"source_low": "source: 95% from", "source_high": "source: to", "max_other_rate": "largest other"}
    names |= {"max_other_lower": "other: 95% from", "max_other_upper": "other: to", "assistant_low": "assistant: 95% from", "assistant_high": "assistant: to"}
    config: charts.Columns = {name: st.column_config.NumberColumn(words, format="percent") for name, words in names.items()}
    config |= {
        "lr": _lr(),
        "regime_supported": st.column_config.TextColumn("intervals allow", help="Every regime that the 95% intervals by question allow."),
        "max_bystander_persona": "which",
        "max_held_out_persona": "which held-out",
        "n_negatives": "negatives",
        "n_held_out": "held-out",
        "arc_c": st.column_config.NumberColumn("ARC-Challenge", format="%.3f"),
        "loss": st.column_config.NumberColumn("loss", format="%.3f"),
        "wall_minutes": st.column_config.NumberColumn("minutes", format="%.1f"),
        "n_personas": "personas",
        "n_completions": "completions a persona",
        "n_records": st.column_config.NumberColumn("records", help="Records of the same cell in the lake; the newest is shown."),
    }
    allowed = pl.col("regime_supported").list.eval(pl.element().replace(REGIMES)).list.join(" or ")
    shown = with_values(rows.with_columns(pl.col("regime").replace(REGIMES), allowed))
    st.dataframe(shown, hide_index=True, column_config=config, height=charts.table_height(rows, 30), placeholder="–")


def _lr(label: str = "lr") -> Any:
    return st.column_config.NumberColumn(label, format="%.1e", width=70)
