-- head_entropies: the entropy table summed up per head and category of prompts, written when a run is committed
-- key: run_id, category, layer, head
-- sort: category, layer, head
-- rollup of: entropy
select
  run_id,
  subject,
  checkpoint,
  prompt_set,
  form,
  category,
  layer,
  head,
  count(mean)::integer as n, -- prompts
  count(distinct question_id)::integer as n_questions, -- questions among them
  sum(n_positions)::bigint as n_pooled, -- query positions of all of them
  (sum(mean * n_positions) / sum(n_positions))::real as pooled, -- mean entropy over the positions of all prompts together: longer prompts weigh more
  (sum(mean_no_sink * (n_positions - 1)) / nullif(sum(n_positions - 1), 0))::real as pooled_no_sink, -- the same of rows without the first token
  avg(mean)::real as prompt_mean, -- mean over prompts of the prompt's mean entropy
  stddev_samp(mean)::real as prompt_sd, -- standard deviation over prompts of the same
  avg(first_three)::real as first_three, -- mean over prompts of the entropy at the first three positions
  avg(last_three)::real as last_three, -- at the last three
  avg(sink)::real as sink -- mean over prompts of the attention to the first token
from entropy
where mean is not null
group by all
