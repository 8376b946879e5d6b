"""Trained and base readouts of the same generations, as arrays by question: what every analysis of a pair starts from."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np

from personascope.warehouse.analyses.base import Group
from personascope.warehouse.store.manifest import Manifest

_PAIRS = """
select p.trained_run, p.base_run, any_value(g.tokens_run) as tokens_run
from subject_pairs as p
left join published_rows as g on p.origin = 'published' and g.run_id = p.trained_run
group by p.trained_run, p.base_run
order by p.trained_run, p.base_run
"""
_READINGS = """
select trained_subject, base_subject, layer, question_id, count(*) as n, sum(trained_delta) as trained, sum(base_delta) as base
from paired_deltas
where trained_run = ? and base_run = ?
group by trained_subject, base_subject, layer, question_id
order by layer, question_id
"""


@dataclass(frozen=True)
class Pair:
    """Sums over the generations of each question of marker minus C1: `trained` and `base` [questions, layers], `sizes` [questions] counts the generations."""

    keys: dict[str, object]
    layers: list[int]
    sizes: np.ndarray
    trained: np.ndarray
    base: np.ndarray

    @property
    def n(self) -> int:
        """Generations."""
        return int(self.sizes.sum())

    @property
    def counts(self) -> dict[str, int]:
        return {"n": self.n, "n_clusters": len(self.sizes)}


def inputs(run: Manifest) -> tuple[str, ...] | None:
    """Tables that decide a pair: of a readout, of published deltas, and of the published generations that name their questions."""
    is_readout = {"attention_mean", "positions"} <= run.tables.keys()
    is_published = run.kind == "ingest" and not run.tables.keys().isdisjoint({"published_deltas", "marker_flags"})
    return ("positions", "attention_mean", "published_deltas", "marker_flags", "completions") if is_readout or is_published else None


def groups(connection: duckdb.DuckDBPyConnection, runs: Sequence[Manifest]) -> Iterable[Group]:
    """(trained, base) of every pair in the lake, and the published generations that name its questions."""
    by_id = {run.run_id: run for run in runs}
    for names in connection.sql(_PAIRS).fetchall():
        yield tuple(by_id[name] for name in dict.fromkeys(names) if name is not None)


def read_pair(connection: duckdb.DuckDBPyConnection, trained: Manifest, base: Manifest) -> Pair | None:
    """The pair by question, layers that every question has; None where questions are unknown or fewer than two, since nothing can be resampled then."""
    rows = connection.sql(_READINGS, params=[trained.run_id, base.run_id]).pl()
    if rows["question_id"].null_count() or rows["question_id"].n_unique() < 2:
        return None
    sizes = rows.pivot(on="layer", index="question_id", values="n", sort_columns=True).sort("question_id").drop("question_id")
    whole = [name for name in sizes.columns if sizes[name].null_count() == 0 and (sizes[name] == sizes[sizes.columns[0]]).all()]
    layers = sorted(int(name) for name in whole)
    if not layers:
        return None
    wanted = [str(layer) for layer in layers]
    totals = {name: rows.pivot(on="layer", index="question_id", values=name).sort("question_id").select(wanted) for name in ("trained", "base")}
    keys = {"trained_run": trained.run_id, "base_run": base.run_id, **rows.select("trained_subject", "base_subject").row(0, named=True)}
    return Pair(keys, layers, sizes[wanted[0]].to_numpy().astype(float), totals["trained"].to_numpy(), totals["base"].to_numpy())
