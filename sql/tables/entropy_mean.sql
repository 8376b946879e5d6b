-- entropy_mean: the entropy table averaged over the heads of a layer, written when a run is committed
-- key: run_id, example_id, layer
-- sort: layer, category, example_id
-- rollup of: entropy
select
  run_id,
  subject,
  checkpoint,
  prompt_set,
  form,
  persona,
  condition,
  category,
  question_id,
  example_id,
  layer,
  count(mean)::integer as n_heads, -- heads that were read and averaged
  any_value(n_positions) as n_positions,
  avg(mean)::real as mean,
  avg(first_three)::real as first_three,
  avg(last_three)::real as last_three,
  avg(last_one)::real as last_one,
  avg(sink)::real as sink,
  avg(mean_no_sink)::real as mean_no_sink,
  avg(first_three_no_sink)::real as first_three_no_sink,
  avg(last_three_no_sink)::real as last_three_no_sink,
  avg(last_one_no_sink)::real as last_one_no_sink
from entropy
group by all
