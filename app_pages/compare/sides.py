"""What stands beside what: two checkpoints, two runs of one extractor, or two seeds of one recipe, each side with everything that is known of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from personascope.app_pages.shared import address
from personascope.app_pages.shared.lake import Source
from personascope.app_pages.shared.text import plain
from personascope.warehouse.asking.slices import collect
from personascope.warehouse.drawing.run_words import with_run_words

CHECKPOINTS, RUNS, SEEDS = "checkpoints", "runs", "seeds"
OF_RECIPE = """select b.checkpoint, coalesce(b.seed::varchar, 'not recorded') as seed from recipes as a
  join recipes as b on b.parent is not distinct from a.parent and b.source_persona is not distinct from a.source_persona
    and b.lr is not distinct from a.lr and b.epochs is not distinct from a.epochs and b.recipe is not distinct from a.recipe and b.seed is distinct from a.seed
  where a.checkpoint = $checkpoint and a.seed is not null order by b.seed, b.checkpoint"""
NAMED = """select run_id, concat_ws(' · ', run_id, split_part(prompt_set, '@', 1), nullif(subject, checkpoint)) from runs
  where checkpoint is not null"""
# A run stands beside another whose figures mean the same: of one extractor, runs of the same checkpoint first.
OF_EXTRACTOR = """select b.run_id, b.checkpoint from runs as a
  join runs as b on b.extractor = a.extractor and b.run_id <> a.run_id and b.checkpoint is not null
  where a.run_id = $run order by b.checkpoint <> a.checkpoint, b.subject, b.run_id"""


@dataclass(frozen=True)
class Side:
    """One of the two: its name in charts, the checkpoint, the run where runs are compared, its rows of the views of a slice, and the checkpoints over whose
    tokens attention is compared, where both read the same."""

    name: str
    checkpoint: str
    run_id: str | None
    rows: pl.DataFrame
    tokens_of: tuple[str, ...] = ()

    def minus(self, other: "Side") -> pl.DataFrame:
        """Rows that are a paired difference of this one minus the other."""
        of_runs = pl.lit(True) if self.run_id is None or other.run_id is None else pl.col("base_run") == other.run_id
        return self.rows.filter((pl.col("other_checkpoint") == other.checkpoint) & of_runs & pl.col("value").is_not_null())


def choose(lake: Source, checkpoint: str, checkpoints: Sequence[str], persona: str | None, where: DeltaGenerator) -> tuple[Side, Side] | None:
    """The two sides by what the reader chooses; None where there is nothing to stand beside the checkpoint, which is said."""
    kind = address.segments(
        "Compare two", [CHECKPOINTS, RUNS, SEEDS], "of_two", help="Seeds: trainings of one recipe that differ in the seed alone.", where=where
    )
    if kind == RUNS:
        return _two_runs(lake, checkpoint, persona, where)
    if kind == SEEDS:
        seeds = seeds_beside(lake, checkpoint)
        labels = {name: f"seed {seed} ({name})" for name, seed in seeds.items() if name in checkpoints}
        if not labels:
            st.info(f"No training in this lake differs from {plain(checkpoint)} in the seed alone.", icon=":material/casino:")
            return None
        others = [*labels]
    else:
        others, labels = _near_first(lake, checkpoint, checkpoints), {}
        if not others:
            st.info(
                "A comparison takes two measured checkpoints; this lake holds one: `personascope run marker-attention --quick` makes some.",
                icon=":material/compare:",
            )
            return None
    beside = address.select("Beside", others, "beside", labels=labels, where=where)
    same = _same_tokens(lake, checkpoint, beside)
    first, second = (Side(name, name, None, _figures(lake, name, persona, same), same) for name in (checkpoint, beside))
    return first, second


def seeds_beside(lake: Source, checkpoint: str) -> dict[str, str]:
    """The trainings that differ from this one in the seed alone, each with its seed in words."""
    return dict(lake.select(OF_RECIPE, checkpoint=checkpoint).rows())


def _same_tokens(lake: Source, first: str, second: str) -> tuple[str, ...]:
    """The checkpoints whose tokens both read."""
    found = lake.select(
        """select tokens_from from subjects where checkpoint = $first
        intersect select tokens_from from subjects where checkpoint = $second order by tokens_from""",
        first=first,
        second=second,
    )
    return tuple(found["tokens_from"])


def _two_runs(lake: Source, checkpoint: str, persona: str | None, where: DeltaGenerator) -> tuple[Side, Side] | None:
    """A run of the checkpoint, and one of the same extractor beside it."""
    figures = _figures(lake, checkpoint, persona)
    measured = figures.filter(pl.col("other_checkpoint").is_null() & pl.col("value").is_not_null())["run_id"].unique(maintain_order=True).to_list()
    known = dict(
        lake.select(
            "select run_id, concat_ws(' · ', run_id, split_part(prompt_set, '@', 1), nullif(subject, checkpoint)) from runs where checkpoint is not null"
        ).rows()
    )
    runs = [run for run in measured if run in known]
    if not runs:
        st.info(f"No run of this lake measured {plain(checkpoint)} alone.", icon=":material/compare:")
        return None
    run = address.select("Run", runs, "one_run", labels={each: known[each] for each in runs}, where=where)
    others: dict[str, str] = dict(lake.select(OF_EXTRACTOR, run=run).rows())
    if not others:
        st.info(f"{plain(run)} is the only run of its extractor.", icon=":material/compare:")
        return None
    labels = {each: f"{known[each]} · {of}" for each, of in others.items()}
    beside = address.select("Beside", [*others], "other_run", labels=labels, help="Runs of the same extractor, of the same checkpoint first.", where=where)
    sides = []
    for each, of, rows in ((run, checkpoint, figures), (beside, others[beside], None)):
        rows = _figures(lake, of, persona) if rows is None else rows
        sides.append(Side(f"{of} · {each}", of, each, rows.filter(run_id=each)))
    return sides[0], sides[1]


def _near_first(lake: Source, first: str, checkpoints: Sequence[str]) -> list[str]:
    """The other checkpoints, those first that stand beside this one: its parent and its own trainings, readers of its tokens, siblings."""
    near = lake.select(
        """select other_checkpoint from related_checkpoints where checkpoint = $checkpoint
        order by case why when 'parent' then 0 when 'same tokens' then 1 else 2 end, other_checkpoint""",
        checkpoint=first,
    )["other_checkpoint"].to_list()
    others = [name for name in checkpoints if name != first]
    return [*(name for name in near if name in others), *(name for name in others if name not in near)]


def _figures(lake: Source, checkpoint: str, persona: str | None, tokens_of: Sequence[str] = ()) -> pl.DataFrame:
    """Everything known of a checkpoint, of every layer; of attention what it read of these tokens, if it did."""
    every = ["layer"] if persona is not None else ["layer", "persona"]
    return with_run_words(lake, collect(lake, checkpoint, persona, None, every, tokens_of))
