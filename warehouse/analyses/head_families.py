"""What each head is worth to a task: heads are picked, so each p is adjusted for all heads of the model."""

from collections.abc import Iterable, Sequence

import duckdb

from personascope.warehouse.analyses.base import Analysis, Group, Rows
from personascope.warehouse.analyses.families import SEED, SETTINGS, family_rows
from personascope.warehouse.store.manifest import Manifest

MEASURES = ("direct", "direct_margin", "zero", "mean", "resample")
_FAMILY = ("first_run", "second_run", "subject", "stratum", "prompt_form", "measure")
_PAIRS = "select attribution_run, ablation_run from circuit_runs where coalesce(attribution_run, ablation_run) is not null order by all"
_SUMS = """
with worths as (
  select * exclude (prompt_form), unnest(list_distinct([prompt_form, 'all'])) as prompt_form from head_examples
  where attribution_run is not distinct from $attribution and ablation_run is not distinct from $ablation and list_contains($measures, measure)
)
select
  attribution_run as first_run,
  ablation_run as second_run,
  subject,
  stratum,
  prompt_form,
  measure,
  layer,
  head,
  question_id,
  count(*) as n,
  sum(worth) as total
from worths
group by all
order by all
"""


def _inputs(run: Manifest) -> tuple[str, ...] | None:
    """A run of direct attributions or of ablations."""
    return tuple(name for name in ("attributions", "ablations") if name in run.tables) or None


def _groups(connection: duckdb.DuckDBPyConnection, runs: Sequence[Manifest]) -> Iterable[Group]:
    """The attributions of a reader and its ablations, as far as it has them."""
    by_id = {run.run_id: run for run in runs}
    for names in connection.sql(_PAIRS).fetchall():
        if found := tuple(by_id[name] for name in names if name in by_id):
            yield found


def _compute(connection: duckdb.DuckDBPyConnection, *runs: Manifest) -> Rows:
    """Rows of `family_tests` of one reader, by place, phrasing and measure."""
    of = {kind: next((run.run_id for run in runs if f"{kind}s" in run.tables), None) for kind in ("attribution", "ablation")}
    return family_rows("head_worths", connection.sql(_SUMS, params=of | {"measures": list(MEASURES)}).pl(), _FAMILY)


ANALYSIS = Analysis(
    name="head-families",
    version=1,
    table="family_tests",
    settings=SETTINGS,
    inputs=_inputs,
    groups=_groups,
    rows=_compute,
    seed=SEED,
)
