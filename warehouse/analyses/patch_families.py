"""What activations of a donor do at each place: places are picked, so each p is adjusted for all layers and heads of its site."""

import duckdb

from personascope.warehouse.analyses.base import Analysis, Rows
from personascope.warehouse.analyses.families import SEED, SETTINGS, family_rows
from personascope.warehouse.store.manifest import Manifest

_FAMILY = ("first_run", "subject", "stratum", "prompt_form", "measure", "donor", "direction", "site")
_SUMS = """
with forms as (
  select * exclude (prompt_form), unnest(list_distinct([coalesce(prompt_form, 'none'), 'all'])) as prompt_form from patches where run_id = $run
)
select
  run_id as first_run,
  subject,
  stratum,
  prompt_form,
  'log_prob' as measure,
  donor,
  direction,
  site,
  layer,
  head,
  question_id,
  count(*) as n,
  -sum(nats_lost(base_prob, prob)) as total
from forms
group by all
order by all
"""


def _inputs(run: Manifest) -> tuple[str, ...] | None:
    """A run of patches."""
    return ("patches",) if "patches" in run.tables else None


def _compute(connection: duckdb.DuckDBPyConnection, patches: Manifest) -> Rows:
    """Rows of `family_tests` of one run, by place, phrasing, donor and site."""
    return family_rows("patch_effects", connection.sql(_SUMS, params={"run": patches.run_id}).pl(), _FAMILY)


ANALYSIS = Analysis(
    name="patch-families",
    version=1,
    table="family_tests",
    settings=SETTINGS,
    inputs=_inputs,
    rows=_compute,
    seed=SEED,
)
