"""The choice of one readout of a lake with another to hold it against."""

import polars as pl
import streamlit as st

from personascope.app_pages.shared import address
from personascope.app_pages.shared.bar import Place, asked, bar
from personascope.app_pages.shared.lake import Source
from personascope.warehouse.asking.views import among
from personascope.warehouse.drawing.attention_readouts import Readout
from personascope.warehouse.drawing.words import count

NOTHING = "nothing"
_ONE_LAYER = "control = 'C1' and segmentation = 'B' and region = 'system' and layer = 0"


def choose_place(lake: Source, found: list[Readout], with_heads: bool) -> Place:
    """The bar of the page: layers (and heads, `with_heads`) are those of the readouts that the choice of checkpoint and persona leaves."""
    left = [each.run_id for each in _at(found, asked("checkpoint"), asked("persona"))] or [each.run_id for each in found]
    layers = _most(lake, left, "n_layers", "select max(n_layers) from gate_counts where {}")
    heads = _most(lake, left, "n_heads", f"select max(head) + 1 from head_deltas where {_ONE_LAYER} and {{}}") if with_heads else 0
    checkpoints, personas = sorted({each.checkpoint for each in found}), sorted({each.persona for each in found})
    return bar(checkpoints=checkpoints, personas=personas, layers=range(layers), heads=range(heads))


def _most(lake: Source, runs: list[str], column: str, read: str) -> int:
    """The most layers, or heads a layer, that a reader of these runs has; of published readers, whose configuration nobody knows, that were `read`."""
    known = lake.select(
        f"""select run_id, max({column}) as most from subjects left join checkpoints using (run_id, checkpoint)
        where {among("run_id", runs)} group by run_id order by run_id"""
    )
    most: list[int] = known["most"].drop_nulls().to_list()
    if unknown := known.filter(pl.col("most").is_null())["run_id"].to_list():
        most += lake.select(read.format(among("run_id", unknown))).to_series().drop_nulls().to_list()
    return max(most, default=0)


def _at(found: list[Readout], checkpoint: str | None, persona: str | None) -> list[Readout]:
    return [each for each in found if checkpoint in (None, each.checkpoint) and persona in (None, each.persona)]


def choose(lake: Source, found: list[Readout], place: Place) -> tuple[Readout, Readout | None] | None:
    """The readout to look at and the one to hold it against, as the bar, the page's address or the reader says; None where no readout is at that place."""
    by_run = {each.run_id: each for each in found}
    pairs = lake.select("select trained_run, base_run from subject_pairs order by base_checkpoint, base_run").rows()
    held_against = {base for _, base in pairs}
    here = _at(found, place.checkpoint, place.persona)
    if not here:
        return None
    first = [each for each in here if each.run_id not in held_against] or here
    personas = {each.subject: sorted({other.persona for other in first if other.subject == each.subject}) for each in first}
    labels = {
        each.subject: f"{each.subject} · {'tokens of ' + each.tokens_from if each.forced else 'own tokens'} · "
        f"{'personas' if len(personas[each.subject]) > 1 else 'persona'} {', '.join(personas[each.subject])}"
        for each in first
    }
    left, right = st.columns(2)
    in_pairs = {trained for trained, _ in pairs}
    default = next((each.subject for each in first if each.run_id in in_pairs), None)
    subject = address.select("Readout", list(labels), "subject", default=default, labels=labels, help="A checkpoint, and whose tokens it read.", where=left)
    same = [each for each in first if each.subject == subject]
    readout = same[0]
    if len(same) > 1:
        names = {
            each.run_id: " · ".join(
                [
                    *([f"persona {each.persona}"] if len(personas[subject]) > 1 else []),
                    *(each.run_id, each.origin, count(each.n_positives, "generation")),
                    *([each.dtype] if each.dtype else []),
                ]
            )
            for each in same
        }
        readout = by_run[address.select("Run", list(names), "run", labels=names, help="It was read more than once; the newest comes first.", where=left)]
    others = [by_run[base] for trained, base in pairs if trained == readout.run_id and base in by_run]
    options = {NOTHING: NOTHING} | {_option(each, others): each.name for each in others}
    chosen = address.select("Compared with", list(options), "against", default=list(options)[min(1, len(others))], labels=options, where=right)
    return readout, next((each for each in others if _option(each, others) == chosen), None)


def _option(each: Readout, others: list[Readout]) -> str:
    """The checkpoint's name, or the run where two runs of one checkpoint could be meant."""
    return each.checkpoint if sum(other.checkpoint == each.checkpoint for other in others) == 1 else each.run_id
