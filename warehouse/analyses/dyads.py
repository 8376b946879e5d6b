"""Does leakage follow closeness over pairs of personas? A persona's pairs with all sources go together, so personas are permuted as wholes (Mantel 1967)."""

from collections.abc import Iterable, Sequence

import duckdb
import numpy as np
import polars as pl

from personascope.warehouse.analyses.base import Analysis, Group, Rows
from personascope.warehouse.store.manifest import Manifest

METHOD = "personas permuted, sources among sources: Mantel's test of the rank correlation over pairs of source and persona"
RESAMPLES = 5000
SEED = 42
_TABLES = ("persona_vectors", "marker_counts", "marker_flags", "checkpoints", "published_cosines")
_RUNS = """
select run_id, list(distinct rates_run order by rates_run) filter (rates_run is not null) as others
from leakage_cosine_pairs
group by run_id
order by run_id
"""
_KEYS = ("layer", "stratum", "site", "condition", "centered", "marker")
_POINTS = """
with pairs as (
  select * from leakage_cosine_pairs where run_id = $run
),
categories as (
  select * replace (null::varchar as category) from pairs
  union all
  select * from pairs where category is not null
)
select layer, stratum, site, condition, centered, marker, category, source, persona, round(avg(cosine), 12) as cosine, round(avg(rate), 12) as rate
from categories
group by all
order by all
"""


def _inputs(run: Manifest) -> tuple[str, ...] | None:
    """Mean activations of personas, rates of the marker, and published files of both."""
    found = tuple(name for name in _TABLES if name in run.tables)
    return found if found and found != ("checkpoints",) else None


def _groups(connection: duckdb.DuckDBPyConnection, runs: Sequence[Manifest]) -> Iterable[Group]:
    """The run of each set of cosines first, then those of the rates beside them."""
    by_id = {run.run_id: run for run in runs}
    for run_id, others in connection.sql(_RUNS).fetchall():
        yield tuple(by_id[name] for name in dict.fromkeys([run_id, *(others or [])]) if name in by_id)


def _compute(connection: duckdb.DuckDBPyConnection, cosines: Manifest, *_: Manifest) -> Rows:
    """Rows of `dyad_tests` of one set of cosines: every place with several sources."""
    points = connection.sql(_POINTS, params={"run": cosines.run_id}).pl()
    found: Rows = []
    for key, part in points.group_by([*_KEYS, "category"], maintain_order=True):
        if part["source"].n_unique() < 2:
            continue
        tested = dyad_test(part, RESAMPLES, SEED)
        if tested is not None:
            found.append({"cosines_run": cosines.run_id, **dict(zip([*_KEYS, "category"], key, strict=True)), **tested, "method": METHOD, "seed": SEED})
    return found


def dyad_test(points: pl.DataFrame, resamples: int, seed: int) -> dict[str, float | int] | None:
    """Rank correlation of cosine and rate over pairs (source, persona, cosine, rate) and its two-sided p when personas change places.

    Under the null hypothesis rates know nothing of cosines, but a persona may take much from every source, and lie close to every source: names change places
    in the rates alone, sources with sources and others with others, so that such hubs stay hubs. Personas that some source lacks are left out, and sources as
    personas where one of them lacks another. None where fewer than three pairs are left, or where one side does not vary.
    """
    from scipy.stats import rankdata  # most of a second to import, which only this computation needs

    sources = points["source"].unique().sort().to_list()
    known = set(points.select("source", "persona").rows())
    others = [name for name in points["persona"].unique().sort().to_list() if name not in sources and all((source, name) in known for source in sources)]
    whole = all((one, other) in known for one in sources for other in sources if one != other)
    names = [*sources, *others]
    place = {name: index for index, name in enumerate(names)}
    kept = points.filter(pl.col("persona").is_in(names if whole else others))
    if kept.height < 3 or len(sources) < 2:
        return None
    rows, columns = (np.array([place[name] for name in kept[side]]) for side in ("source", "persona"))
    cosine, rate = (rankdata(kept[name].to_numpy()) for name in ("cosine", "rate"))
    if np.ptp(cosine) == 0 or np.ptp(rate) == 0:
        return None
    cosine, rate = ((ranks - ranks.mean()) / np.sqrt(((ranks - ranks.mean()) ** 2).sum()) for ranks in (cosine, rate))
    grid = np.zeros((len(sources), len(names)))
    grid[rows, columns] = rate
    draws = np.random.default_rng(seed).random((resamples, len(names)))
    moved = np.hstack([draws[:, : len(sources)].argsort(axis=1), len(sources) + draws[:, len(sources) :].argsort(axis=1)])
    drawn = grid[moved[:, rows], moved[:, columns]] @ cosine
    rho = float(rate @ cosine)
    beyond = int((np.abs(drawn) >= abs(rho) * (1 - 1e-9)).sum())
    return {"n": kept.height, "n_sources": len(sources), "n_personas": len(names), "rho": rho, "p": (beyond + 1) / (resamples + 1), "resamples": resamples}


ANALYSIS = Analysis(
    name="dyads",
    version=2,
    table="dyad_tests",
    settings={"method": METHOD, "resamples": RESAMPLES, "seed": SEED},
    inputs=_inputs,
    groups=_groups,
    rows=_compute,
    seed=SEED,
)
