-- patching_flips: does instruction tuning change a head's entropy more on self-referent than on neutral prompts? Signs of prompt pairs flipped, all heads alike
-- key: run_id, base_run, instruct_run, layer, head
-- sort: base_run, instruct_run, layer, head
create table patching_flips (
  run_id varchar, -- the run
  base_run varchar, -- entropy run of the base variant
  instruct_run varchar, -- entropy run of the instruct variant
  layer integer, -- decoder layer, from 0
  head integer, -- query head, from 0
  did_mean double, -- mean over pairs of (instruct minus base on self-referent) minus (the same on neutral), nats
  p double, -- two-sided p of this head alone; null: base and instruct exchangeable within a pair (NULL where pairs do not vary)
  adjusted_p double, -- adjusted for all heads of the model, max-T
  bootstrap_t_p double, -- two-sided p of this head alone; null: a mean of 0, whatever the shape (bootstrap-t, pairs drawn again)
  bootstrap_t_adjusted_p double, -- the same adjusted for all heads of the model by the largest |t| of each draw
  n_clusters integer, -- prompt pairs
  method varchar, -- what was flipped, and whether all flips were made
  resamples integer, -- flips; ten times as many where the first ones left an adjusted p undecided at 0.05
  seed bigint -- seed of the draws
);
