-- similarity_intervals: how sure the cosines between conditions are, and how often each is the outlier, when questions are left out and drawn again
-- key: run_id, basis, sae_id, layer, site, stratum, condition_a, condition_b
-- sort: basis, layer, site, stratum, condition_a, condition_b
create table similarity_intervals (
  run_id varchar, -- the run
  basis varchar, -- features or activations: what is averaged and compared
  sae_id varchar, -- the sparse autoencoder (NULL of a run of activations)
  layer integer, -- decoder layer, from 0
  site varchar, -- site of the residual stream that was read
  stratum varchar, -- token position that was read
  condition_a varchar, -- first condition
  condition_b varchar, -- second condition (NULL: the mean over all others)
  corrected double, -- the cosine without what questions add to the length of a mean, or its mean over the others (NULL where a mean is not longer than its noise)
  low double, -- lower end of the 95% interval of corrected (NULL where the questions do not differ)
  high double, -- upper end
  outlier_share double, -- share of the draws in which no condition is less like the others (NULL of a pair)
  n_clusters integer, -- questions read under every condition
  method varchar, -- how the intervals were made
  resamples integer, -- draws behind outlier_share
  seed bigint -- seed of the draws
);
