"""Marker minus C1 of every head, summed by question: one pass over the heads at refresh, so that queries over halves of the questions need none."""

import duckdb
import polars as pl

from personascope.warehouse.analyses.base import Analysis
from personascope.warehouse.store.manifest import Manifest

CONTROL = "C1"
REGION = "system"

# A weight times n is 1 at a marker and minus its share at a control position. A question of which a head lacks any reading has no sum.
_SUMS = """
with questions as (
  select distinct run_id, example_id, sample_ix, question_id from positions where run_id = $run
),
weights as (
  select w.subject, q.question_id, w.example_id, w.sample_ix, w.control, w.position, w.weight * w.n as weight
  from contrast_weights as w
  join questions as q using (run_id, example_id, sample_ix)
  where w.run_id = $run and w.control = $control
),
sizes as (
  select question_id, count(*) as n_readings, count(distinct (example_id, sample_ix)) as n from weights group by question_id
),
heads as (
  select example_id, sample_ix, position, layer, head, system from attention where run_id = $run
),
sums as (
  select w.subject, w.control, h.layer, h.head, w.question_id, count(h.system) as n_found, sum(w.weight * h.system) as total
  from heads as h
  join weights as w using (example_id, sample_ix, position)
  group by w.subject, w.control, h.layer, h.head, w.question_id
)
select s.subject, s.control, $region as region, s.layer, s.head, s.question_id, z.n, case when s.n_found = z.n_readings then s.total end as total
from sums as s
join sizes as z using (question_id)
order by s.layer, s.head, s.question_id
"""


def _inputs(run: Manifest) -> tuple[str, ...] | None:
    """A readout that kept its heads."""
    return ("positions", "attention") if {"positions", "attention"} <= run.tables.keys() else None


def _compute(connection: duckdb.DuckDBPyConnection, readout: Manifest) -> pl.DataFrame:
    """Rows of `head_questions` of one readout; one without a marker has none."""
    return connection.sql(_SUMS, params={"run": readout.run_id, "control": CONTROL, "region": REGION}).pl()


ANALYSIS = Analysis(
    name="head-questions",
    version=1,
    table="head_questions",
    settings={"control": CONTROL, "region": REGION},
    inputs=_inputs,
    rows=_compute,
)
