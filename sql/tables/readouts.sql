-- readouts: who read whose tokens in a run of the attention readout, and how many generations of each kind
-- key: run_id, subject
-- sort: subject
-- rollup of: positions
select
  run_id,
  subject,
  any_value(checkpoint) as checkpoint,
  any_value(persona) as persona,
  any_value(tokens_run) as tokens_run,
  any_value(tokens_from) as tokens_from,
  any_value(forced) as forced,
  count(*) filter (stratum = 'marker') as n_positives, -- generations with the marker that were read
  count(*) filter (stratum = 'C4') as n_negatives, -- generations without it that were read
  count(distinct question_id) filter (stratum = 'marker') as n_clusters -- questions among the positives
from positions
group by run_id, subject
