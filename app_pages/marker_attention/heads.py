"""Heads, section of the marker page: the map of all of them, what is left of the strongest on questions that did not pick them, and a table of every figure."""

import polars as pl
import streamlit as st

from personascope.app_pages.shared import address, charts
from personascope.app_pages.shared.bar import Place
from personascope.app_pages.shared.lake import Source
from personascope.app_pages.shared.text import plain
from personascope.warehouse.drawing.attention_readouts import Readout
from personascope.warehouse.drawing.figures.layer_curves import Contrast
from personascope.warehouse.drawing.tables import with_values
from personascope.warehouse.drawing.words import count_range

SCATTER_HEIGHT, LABELLED = 360, 5


def show_heads(lake: Source, readout: Readout, other: Readout | None, contrast: Contrast, place: Place) -> None:
    """Marker minus control of every head (of one layer, or one head, where `place` says so), and every other figure of each."""
    views = {"first": readout.name} | ({"other": other.name, "difference": f"{readout.checkpoint} minus {other.checkpoint}"} if other else {})
    which = address.select("Heads of", list(views), "heads", labels=views) if other else "first"
    one = "select layer, head, mean_delta, n from head_deltas where run_id = $run_id and subject = $subject"
    where = "and control = $control and segmentation = $segmentation and region = $region"
    parameters = {"control": contrast.control, "segmentation": contrast.segmentation, "region": contrast.region}
    if which == "difference" and other is not None:
        rows = lake.select(
            f"""select a.layer, a.head, a.mean_delta - b.mean_delta as mean_delta, a.n
            from ({one} {where}) as a
            join ({one.replace("$run_id", "$other_run").replace("$subject", "$other_subject")} {where}) as b using (layer, head)
            order by layer, head""",
            run_id=readout.run_id,
            subject=readout.subject,
            other_run=other.run_id,
            other_subject=other.subject,
            **parameters,
        )
    else:
        chosen = other if which == "other" and other is not None else readout
        rows = lake.select(f"{one} {where} order by layer, head", run_id=chosen.run_id, subject=chosen.subject, **parameters)
    if rows.is_empty():
        why = "its publication holds means over heads only" if readout.origin == "published" else f"nothing was read against {contrast.control}"
        st.info(f"No single heads of {plain(readout.subject)} are in this lake: {why}.", icon=":material/grid_on:")
        return
    rows = _at(rows, place)
    n_layers = rows["layer"].n_unique()
    figure = charts.heat_map(rows, "head", "layer", "mean_delta", ("head, counted from 0", "layer, counted from 0", "share of attention"))
    facts = [
        f"{views[which]}; {contrast.control}, {contrast.region_name}; no test",
        f"mean over {readout.sample(rows['n'].unique(), [readout.n_clusters])}",
    ]
    charts.show(figure, "heads", "Marker minus control, head by head", facts, max(40 if n_layers == 1 else 180, min(16 * n_layers, 640)))
    _show_table(lake, readout, other, place)


def _at(rows: pl.DataFrame, place: Place) -> pl.DataFrame:
    """The rows of the layer and the head that the bar names; all of them where it names none that there is."""
    for name, value in (("layer", place.layer), ("head", place.head)):
        rows = rows.filter(pl.col(name) == value) if value is not None and value in rows[name] else rows
    return rows


def _of_pair(lake: Source, readout: Readout, other: Readout | None) -> pl.DataFrame:
    """The rows of the readout against the other one, or the first that it is paired with; named outright, since then no other run's files are opened."""
    of = {"run_id": readout.run_id, "subject": readout.subject}
    first = "select min(base_run) from subject_pairs where trained_run = $run_id and trained_subject = $subject"
    against = other.run_id if other else lake.select(first, **of).item()
    query = """select layer, head, trained_minus_base, selection_rank, selection_effect, evaluation_effect, evaluation_low, evaluation_high, shrinkage,
      delta_c1, base_delta_c1, delta_c2, delta_c3, delta_c4, patching_rank, patching_did, patching_p, n, n_selection, n_evaluation, n_clusters_selection,
      n_clusters_evaluation, patching_family
    from heads where run_id = $run_id and subject = $subject and {} order by selection_rank nulls last, abs(delta_c1) desc, layer, head"""
    rows = lake.select(query.format("base_run = $base_run"), **of, base_run=against) if against is not None else pl.DataFrame()
    return lake.select(query.format("base_run is null"), **of) if rows.is_empty() else rows


def _show_table(lake: Source, readout: Readout, other: Readout | None, place: Place) -> None:
    """Every figure of every head, the strongest first, after what selection on half of the questions leaves of them."""
    rows = _of_pair(lake, readout, other)
    if rows["selection_rank"].null_count() < rows.height:
        _show_selection(readout, rows)
    elif other is not None:
        st.info("What half of the questions picks was not measured on the other half yet: `personascope analyse` computes it.", icon=":material/call_split:")
    counts = ("n", "n_selection", "n_evaluation", "n_clusters_selection", "n_clusters_evaluation", "patching_family")
    signed_columns = {
        "trained_minus_base": ("trained − base", "Marker minus C1, all generations."),
        "selection_effect": ("picked by", "Trained minus base on the selection half of the questions."),
        "evaluation_effect": ("other half", "The same on the other half of the questions, which did not decide the rank."),
        "evaluation_low": ("low", "95% t interval over the questions of the other half, this head alone."),
        "evaluation_high": ("high", "95% t interval over the questions of the other half, this head alone."),
        "delta_c1": ("− C1", "Marker minus C1."),
        "base_delta_c1": ("base − C1", "Marker minus C1 of the other checkpoint on the same tokens."),
        "delta_c2": ("− C2", "Marker minus C2."),
        "delta_c3": ("− C3", "Marker minus C3."),
        "delta_c4": ("− C4", "Marker minus C4."),
        "patching_did": ("patching DiD", "Published difference in differences of the head's entropy, nats, in the family of this architecture."),
    }
    config: charts.Columns = {
        name: st.column_config.NumberColumn(words, help=help_words, format="%+.4f") for name, (words, help_words) in signed_columns.items()
    }
    config |= {
        "selection_rank": st.column_config.NumberColumn("rank", help="By the absolute change on the selection half, among all heads."),
        "shrinkage": st.column_config.NumberColumn("shrinkage", format="percent", help="Share of the picked effect that is gone on the other half."),
        "patching_rank": st.column_config.NumberColumn("patching rank", help="Order among the published candidates for patching."),
        "patching_p": st.column_config.NumberColumn("patching p", format="%.3g", help="Exact sign test, times the heads of the model."),
    }
    table = with_values(_at(rows, place).drop(counts))
    st.markdown("**Every figure of every head**")
    st.dataframe(table, hide_index=True, column_config=config, height=charts.table_height(table), placeholder="–")
    st.caption(
        f"System prompt, content tokens; {readout.sample(rows['n'].unique(), [readout.n_clusters])}. Means without a test but for the interval of the other "
        f"half. View `heads`; figures that the lake lacks are left out."
    )


def _show_selection(readout: Readout, rows: pl.DataFrame) -> None:
    drawn = rows.select(
        "layer",
        "head",
        "selection_effect",
        "evaluation_effect",
        "evaluation_low",
        "evaluation_high",
        "shrinkage",
        rank="selection_rank",
        name=pl.when(pl.col("selection_rank") <= LABELLED).then(pl.format("{}.{}", "layer", "head")).otherwise(pl.lit("")),
    )
    titles = ("trained minus base, questions that pick the head", "trained minus base, the other questions")
    halves = [
        f"{words} {count_range(rows[f'n_{half}'], 'generation')} of {count_range(rows[f'n_clusters_{half}'], 'question')}"
        for words, half in (("picked on", "selection"), ("measured on", "evaluation"))
    ]
    facts = [
        f"{readout.name}: {', '.join(halves)}; {readout.seed}; halves of questions by a hash of their names; no test",
        f"marker minus C1, system prompt, content tokens; the {LABELLED} strongest are named layer.head",
    ]
    figure = charts.scatter(drawn, "selection_effect", "evaluation_effect", titles, "name")
    charts.show(figure, "selection", "Heads picked on half of the questions, measured on the other half", facts, SCATTER_HEIGHT)
