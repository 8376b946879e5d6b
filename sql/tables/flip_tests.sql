-- flip_tests: p of trained minus base per layer by flipping signs of whole questions, alone and adjusted for all layers
-- key: run_id, trained_run, base_run, layer
-- sort: trained_run, base_run, layer
create table flip_tests (
  run_id varchar, -- the run
  trained_run varchar, -- run of the checkpoint that sampled the tokens
  base_run varchar, -- run of the checkpoint that was force-fed them
  trained_subject varchar, -- subject of trained_run
  base_subject varchar, -- subject of base_run
  layer integer, -- decoder layer, from 0
  n integer, -- generations read by both
  n_clusters integer, -- questions among them
  p double, -- two-sided, of this layer alone; null: trained and base exchangeable within a question (NULL where the differences do not vary)
  adjusted_p double, -- two-sided, adjusted for all layers by the largest |t| of each flip
  bootstrap_t_p double, -- two-sided, of this layer alone; null: a mean of 0, whatever the shape (bootstrap-t, questions drawn again, as many as resamples began with)
  bootstrap_t_adjusted_p double, -- the same adjusted for all layers by the largest |t| of each draw
  method varchar, -- how the rows were resampled
  resamples integer, -- sign flips made; ten times as many where the first ones left an adjusted p undecided at 0.05
  seed bigint -- seed of the generator
);
