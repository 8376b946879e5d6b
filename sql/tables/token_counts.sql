-- token_counts: how often each token was sampled in the answers of a run
-- key: run_id, token_id
-- sort: token_id
-- rollup of: completions
with answers as (
  select run_id, unnest(token_ids[prompt_len + 1:]) as token_id from completions
)
select
  run_id,
  token_id, -- token of the vocabulary
  count(*) as n -- times it was sampled
from answers
group by run_id, token_id
