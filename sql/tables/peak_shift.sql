-- peak_shift: layer in which attention at the marker peaks in trained and base, and its shift, with intervals over questions
-- key: run_id, trained_run, base_run
-- sort: trained_run, base_run
create table peak_shift (
  run_id varchar, -- the run
  trained_run varchar, -- run of the checkpoint that sampled the tokens
  base_run varchar, -- run of the checkpoint that was force-fed them
  trained_subject varchar, -- subject of trained_run
  base_subject varchar, -- subject of base_run
  n integer, -- generations read by both
  n_clusters integer, -- questions among them
  peak_layer integer, -- layer of the largest mean of marker minus C1, trained checkpoint, the first on ties
  peak_low integer, -- 2.5% quantile of it over the resamples
  peak_high integer, -- 97.5% quantile
  base_peak_layer integer, -- the same layer of the force-fed checkpoint
  base_peak_low integer, -- 2.5% quantile of it over the resamples
  base_peak_high integer, -- 97.5% quantile
  shift_low integer, -- 2.5% quantile of peak_layer minus base_peak_layer over the resamples
  shift_high integer, -- 97.5% quantile
  same_share double, -- share of the resamples in which both peak in the same layer
  method varchar, -- how the rows were resampled
  resamples integer, -- number of resamples R
  seed bigint -- seed of the generator
);
