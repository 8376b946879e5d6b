-- rfc_intervals: how sure RFC and RSI of a base and an instruct variant are when prompts are drawn again within their category, the same for both
-- key: run_id, base_run, instruct_run, layer
-- sort: base_run, instruct_run, layer
create table rfc_intervals (
  run_id varchar, -- the run
  base_run varchar, -- entropy run of the base variant
  instruct_run varchar, -- entropy run of the instruct variant
  layer integer, -- decoder layer, from 0 (NULL: the mean over layers)
  rfc_base_low double, -- lower end of the 95% interval of the base's RFC, mean over heads: BCa, tails widened for few prompts (NULL where it does not vary)
  rfc_base_high double, -- upper end
  rfc_instruct_low double, -- the same of the instruct variant
  rfc_instruct_high double, -- upper end
  rsi_base_low double, -- of the base's RSI
  rsi_base_high double, -- upper end
  rsi_instruct_low double, -- of the instruct variant's RSI
  rsi_instruct_high double, -- upper end
  rfc_diff_low double, -- of instruct minus base of RFC
  rfc_diff_high double, -- upper end
  ratio_diff_low double, -- of instruct minus base of the ratio of means
  ratio_diff_high double, -- upper end
  replicates float[], -- rfc_diff of every draw
  n_prompts integer, -- prompts of the smallest category
  method varchar, -- how it was drawn
  resamples integer, -- draws
  seed bigint -- seed of the draws
);
