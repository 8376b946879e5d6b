"""Which heads did instruction tuning change on self-referent prompts in particular? Every head was searched, so sign flips adjust each p for all of them.

Flips test exchangeability of base and instruct within a pair of prompts; a bootstrap-t beside them tests a mean of 0 whatever the shape of the differences.
"""

import duckdb
import numpy as np

from personascope.warehouse.analyses.base import Analysis, Rows
from personascope.warehouse.analyses.bootstrap_t import bootstrap_t
from personascope.warehouse.analyses.resampling import max_t, number
from personascope.warehouse.analyses.rfc_intervals import inputs, pairs
from personascope.warehouse.store.manifest import Manifest

RESAMPLES = 10_000
SEED = 42
METHOD = {True: "max-T over heads, all sign flips of prompt pairs", False: "max-T over heads, drawn sign flips of prompt pairs"}
_FIGURES = ("did_mean", "p", "adjusted_p", "bootstrap_t_p", "bootstrap_t_adjusted_p")
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
    test, free = max_t(did, np.ones(n_pairs), RESAMPLES, SEED), bootstrap_t(did, np.ones(n_pairs), RESAMPLES, SEED)
    shared = {"base_run": base.run_id, "instruct_run": instruct.run_id, "n_clusters": n_pairs}
    shared |= {"method": METHOD[test.every], "resamples": test.resamples, "seed": SEED}
    return [
        {**shared, "layer": layer, "head": head, **dict(zip(_FIGURES, map(number, found), strict=True))}
        for (layer, head), *found in zip(heads.rows(), did.mean(axis=0), test.p, test.adjusted_p, free.p, free.adjusted_p, strict=True)
    ]


ANALYSIS = Analysis(
    name="patching-flips",
    version=2,
    table="patching_flips",
    settings={"method": "max-T over heads, sign flips of prompt pairs", "resamples": RESAMPLES, "seed": SEED},
    inputs=inputs,
    groups=pairs,
    rows=_compute,
    seed=SEED,
)
