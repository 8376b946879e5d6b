-- feature_tests: sparse-autoencoder features of two conditions compared question by question; features silent under both are dropped and counted
-- key: run_id, sae_id, layer, site, stratum, condition_a, condition_b, feature
-- sort: layer, stratum, condition_a, condition_b, feature
-- outcomes: reason
create table feature_tests (
  run_id varchar, -- the analysis run
  features_run varchar, -- run of the features that were compared
  sae_id varchar, -- the sparse autoencoder (table sae)
  layer integer, -- decoder layer, from 0
  site varchar, -- resid_pre, resid_post, attn_out or mlp_out
  stratum varchar, -- place that was read, as in table features
  condition_a varchar, -- condition whose mean is positive in the difference
  condition_b varchar, -- condition that is subtracted
  feature integer, -- number of the feature, from 0 (NULL where every feature is silent)
  n integer, -- questions read under both conditions
  n_distinct integer, -- distinct pairs of inputs among them: the units that are flipped
  n_tested integer, -- features that fire somewhere under either condition
  n_silent integer, -- features of the dictionary that fire nowhere under both, dropped before the test
  mean_a double, -- mean value under a, over the units
  mean_b double, -- mean value under b
  difference double, -- mean_a minus mean_b
  effect double, -- mean of the paired differences over their sample standard deviation (NULL where refused or where they do not vary)
  p double, -- sign-flip p of the feature alone, two-sided, also far below one over the flips; null: the conditions exchangeable within a question (NULL where refused)
  maxt_p double, -- p adjusted for every feature of the pair, layer and stratum: studentised max-T (NULL where refused)
  bh_p double, -- Benjamini-Hochberg adjusted p of the same features, at most maxt_p (NULL where refused)
  published_effect double, -- difference over the root mean of both population variances, 0 replaced by 1e-10: the published unpaired statistic (NULL where refused)
  published_threshold double, -- 99.9th percentile of its largest absolute value over features when labels are shuffled (NULL where refused)
  refused boolean, -- the test is refused; the difference stands
  reason varchar, -- why it is refused (NULL where it is not)
  method varchar, -- how p was computed
  resamples integer, -- sign flips made; ten times as many where the first ones left a maxt_p undecided at 0.05 (NULL where refused)
  shuffles integer, -- label shuffles behind the threshold (NULL where refused)
  seed integer -- seed of both
);
