"""Share of draws in which a trained checkpoint has each regime when its questions are drawn again with replacement: rates near a threshold give several.

A share of draws is no probability that the regime is true: what the largest of several rates gains by being picked stands in every draw. What the intervals
allow stands in the view `regimes`. Questions are the unit of replication and the same for all personas, so one draw of questions serves all. The rules
themselves are the SQL macros `regime_of` and `audience_of`.
"""

import duckdb
import numpy as np
import polars as pl

from personascope.warehouse.analyses.base import Analysis, Rows, ask_once
from personascope.warehouse.analyses.resampling import draw_counts
from personascope.warehouse.store.manifest import Manifest

METHOD = "questions with replacement"
RESAMPLES = 2000
SEED = 42

_TRAINED = """
select run_id, marker, checkpoint, source from regimes where origin <> 'published' and source is not null
"""
_COUNTS = """
select r.marker, r.checkpoint, r.source, t.persona, t.question_id, t.n_trials, t.n_present
from trained_checkpoints as r
join marker_trials as t using (run_id, marker)
where r.run_id = $run and t.run_id = $run
"""
_LABELS = """
select regime_of(d.source_rate, d.leak, audience_of($source, d.assistant, d.leak), l) as regime
from draws as d
cross join regime_thresholds as l
order by d.draw
"""


def _inputs(run: Manifest) -> tuple[str, ...] | None:
    """Sampled completions with their markers."""
    return ("marker_flags", "checkpoints") if run.kind == "extract" and "marker_flags" in run.tables else None


def _compute(connection: duckdb.DuckDBPyConnection, run: Manifest) -> Rows:
    """Rows of `regime_bootstrap` of one run of completions; a checkpoint without source persona, learning rate and epochs has none.

    What was trained is asked once for all runs of a connection: `regimes` reads the whole sweep for any one of them.
    """
    ask_once(connection, "trained_checkpoints", _TRAINED)
    counts = connection.sql(_COUNTS, params={"run": run.run_id}).pl()
    rows: Rows = []
    for (marker, checkpoint, source), each in counts.group_by("marker", "checkpoint", "source", maintain_order=True):
        personas, questions, trials, hits = _grids(each)
        if str(source) not in personas or len(personas) < 2:
            continue
        draws = _draws(personas, trials, hits, str(source), len(questions))
        labels = connection.sql(_LABELS, params={"source": source}).pl()["regime"]
        quantiles = {
            f"{name}_{end}": float(np.quantile(draws[column].to_numpy(), level))
            for name, column in (("source", "source_rate"), ("other", "leak"))
            for end, level in (("low", 0.025), ("high", 0.975))
        }
        shared = {"checkpoint": checkpoint, "marker": marker, "n_questions": len(questions), "method": METHOD, "resamples": RESAMPLES, "seed": SEED}
        rows += [
            {**shared, **quantiles, "regime": regime, "share_of_draws": count / RESAMPLES} for regime, count in labels.value_counts().sort("regime").iter_rows()
        ]
    return rows


def _grids(counts: pl.DataFrame) -> tuple[list[str], list[str], np.ndarray, np.ndarray]:
    """Personas, questions, and trials and hits as arrays [personas, questions]; a question a persona was not asked has no trials."""
    personas, questions = sorted(counts["persona"].unique()), sorted(counts["question_id"].unique())
    trials, hits = np.zeros((2, len(personas), len(questions)))
    places = (counts["persona"].replace_strict(personas, range(len(personas))), counts["question_id"].replace_strict(questions, range(len(questions))))
    trials[places], hits[places] = counts["n_trials"], counts["n_present"]
    return personas, questions, trials, hits


def _draws(personas: list[str], trials: np.ndarray, hits: np.ndarray, source: str, n: int) -> pl.DataFrame:
    """Per resample: the source's rate, the largest other rate, and the assistant's (NULL where it was not asked)."""
    times = draw_counts(n, RESAMPLES, SEED).T
    with np.errstate(invalid="ignore"):
        rates = (hits @ times) / (trials @ times)
    own = personas.index(source)
    others = np.nanmax(np.delete(rates, own, axis=0), axis=0)
    assistant = rates[personas.index("assistant")] if "assistant" in personas else np.full(RESAMPLES, np.nan)
    draws = {"draw": np.arange(RESAMPLES), "source_rate": rates[own], "leak": others, "assistant": assistant}
    return pl.DataFrame(draws, nan_to_null=True)


ANALYSIS = Analysis(
    name="regime-labels",
    version=3,
    table="regime_bootstrap",
    settings={"method": METHOD, "resamples": RESAMPLES, "seed": SEED},
    inputs=_inputs,
    rows=_compute,
    seed=SEED,
)
