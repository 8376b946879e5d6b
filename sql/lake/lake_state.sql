-- lake_state: a fingerprint of all runs but checks of claims and registrations of studies, which tells whether an answer was computed from what is in the lake now; one row
-- grain: state
-- source: own
-- columns:
--   state: MD5 of the names of the runs and of the moments they were finished
--   n_runs: runs
--   newest: when the last of them was finished, UTC
select
  md5(coalesce(string_agg(run_id || ' ' || epoch_us(finished), ',' order by run_id), '')) as state,
  count(*) as n_runs,
  max(finished) as newest
from runs
where extractor not in ('claims', 'registration')
