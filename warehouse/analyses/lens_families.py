"""The marker's first token in the logit lens, trained minus base: layers are picked, so each p is adjusted for all of them."""

from collections.abc import Iterable, Sequence

import duckdb

from personascope.warehouse.analyses.base import Analysis, Group, Rows
from personascope.warehouse.analyses.families import SEED, SETTINGS, family_rows
from personascope.warehouse.store.manifest import Manifest

_PAIRS = "select distinct trained_run, base_run from marker_lens_pairs where base_run is not null order by all"
_SUMS = """
with differences as (
  select trained_run, base_run, trained_subject, layer, question_id, trained_prob - base_prob as prob, trained_logit - base_logit as logit
  from marker_lens_pairs
  where trained_run = $trained and base_run = $base
)
select
  trained_run as first_run,
  base_run as second_run,
  trained_subject as subject,
  'marker' as stratum,
  measure,
  layer,
  null::integer as head,
  question_id,
  count(*) as n,
  sum(value) as total
from (unpivot differences on prob, logit into name measure value value)
group by all
order by all
"""


def _inputs(run: Manifest) -> tuple[str, ...] | None:
    """A logit lens."""
    return ("logit_lens",) if "logit_lens" in run.tables else None


def _groups(connection: duckdb.DuckDBPyConnection, runs: Sequence[Manifest]) -> Iterable[Group]:
    """(trained, base) of every pair that read the same tokens."""
    by_id = {run.run_id: run for run in runs}
    for trained, base in connection.sql(_PAIRS).fetchall():
        yield by_id[trained], by_id[base]


def _compute(connection: duckdb.DuckDBPyConnection, trained: Manifest, base: Manifest) -> Rows:
    """Rows of `family_tests` of one pair, by measure."""
    sums = connection.sql(_SUMS, params={"trained": trained.run_id, "base": base.run_id}).pl()
    return family_rows("marker_lens", sums, ("first_run", "second_run", "subject", "stratum", "measure"))


ANALYSIS = Analysis(
    name="lens-families",
    version=1,
    table="family_tests",
    settings=SETTINGS,
    inputs=_inputs,
    groups=_groups,
    rows=_compute,
    seed=SEED,
)
