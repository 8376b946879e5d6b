"""Which heads did instruction tuning change on self-referent prompts in particular? Every head was searched, so sign flips adjust each p for all of them."""

import duckdb
import numpy as np

from personascope.warehouse.analyses.base import Analysis, Rows
from personascope.warehouse.analyses.resampling import max_t
from personascope.warehouse.analyses.rfc_intervals import PAIRS, inputs, pairs
from personascope.warehouse.store.manifest import Manifest

RESAMPLES = 10_000
SEED = 42
METHOD = {True: "max-T over heads, all sign flips of prompt pairs", False: "max-T over heads, drawn sign flips of prompt pairs"}
_DIFFERENCES = """
with readings as (
  select run_id, category, question_id, layer, head, mean from entropy
  where run_id in ($base, $instruct) and category in ('self_referent', 'neutral') and mean is not null
),
signed as (
  select question_id, layer, head, mean * (case when run_id = $instruct then 1 else -1 end) * (case when category = 'neutral' then -1 else 1 end) as part
  from readings
)
select question_id, layer, head, sum(part) as did
from signed
group by question_id, layer, head
having count(*) = 4
order by question_id, layer, head
"""


def _compute(connection: duckdb.DuckDBPyConnection, base: Manifest, instruct: Manifest) -> Rows:
    """Rows of `patching_flips` of one pair; one with fewer than two prompt pairs has none."""
    rows = connection.sql(_DIFFERENCES, params={"base": base.run_id, "instruct": instruct.run_id}).pl()
    n_pairs = rows["question_id"].n_unique()
    if n_pairs < 2:
        return []
    heads = rows.select("layer", "head").unique(maintain_order=True)
    did = rows["did"].to_numpy().reshape(n_pairs, len(heads))
    test = max_t(did, np.ones(n_pairs), RESAMPLES, SEED)
    shared = {"base_run": base.run_id, "instruct_run": instruct.run_id, "n_clusters": n_pairs}
    shared |= {"method": METHOD[test.every], "resamples": test.resamples, "seed": SEED}
    return [
        {**shared, "layer": layer, "head": head, "did_mean": float(mean), "p": _number(p), "adjusted_p": _number(adjusted)}
        for (layer, head), mean, p, adjusted in zip(heads.rows(), did.mean(axis=0), test.p, test.adjusted_p, strict=True)
    ]


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


ANALYSIS = Analysis(
    name="patching-flips",
    version=1,
    table="patching_flips",
    settings={"method": "max-T over heads, sign flips of prompt pairs", "resamples": RESAMPLES, "seed": SEED},
    reads=PAIRS,
    inputs=inputs,
    groups=pairs,
    rows=_compute,
    seed=SEED,
)
