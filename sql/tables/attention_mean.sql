-- attention_mean: the attention table averaged over the heads of a layer, written when a run is committed
-- key: run_id, example_id, sample_ix, position, layer
-- sort: layer, example_id, sample_ix, position
-- rollup of: attention
select
  run_id,
  subject,
  checkpoint,
  persona,
  tokens_run,
  example_id,
  sample_ix,
  position,
  layer,
  count(row_sum)::integer as n_heads, -- heads that were read and averaged; fewer than the layer has where readings are missing
  avg(system)::real as system,
  avg("user")::real as "user",
  avg(assistant)::real as assistant,
  avg(system_structural)::real as system_structural,
  avg(user_structural)::real as user_structural,
  avg(assistant_structural)::real as assistant_structural,
  avg(header)::real as header,
  avg(bos)::real as bos,
  avg(entropy)::real as entropy,
  avg(row_sum)::real as row_sum
from attention
group by all
