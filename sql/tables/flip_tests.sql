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
  p double, -- two-sided, of this layer alone (NULL where the differences do not vary)
  adjusted_p double, -- two-sided, adjusted for all layers by the largest |t| of each flip
  method varchar, -- how the rows were resampled
  resamples integer, -- sign flips made
  seed bigint -- seed of the generator
);
