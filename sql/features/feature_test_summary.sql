-- feature_test_summary: how many SAE features differ between two conditions by each rule, and which tests are refused
-- grain: run_id, sae_id, layer, site, stratum, condition_a, condition_b
-- outcomes: reason
-- source: own; maxt is the default, published is the unpaired shuffle rule of superkaiba/explore-persona-space, issue 127
-- columns:
--   features_run: run of the features that were compared
--   sae_id: the sparse autoencoder
--   layer: layer of the sparse autoencoder
--   site: what it encodes
--   stratum: token position that was read
--   condition_a: condition whose mean is positive in the difference
--   condition_b: condition that is subtracted
--   n: questions under both conditions
--   n_distinct: distinct pairs of inputs among them
--   n_tested: features that fire somewhere
--   n_silent: features of the dictionary that never fire
--   n_maxt: features with max-T p at most 0.05 (NULL where refused)
--   n_bh: features with Benjamini-Hochberg p at most 0.05, never fewer than n_maxt (NULL where refused)
--   n_published: features beyond the published rule's threshold (NULL where refused)
--   threshold: that threshold
--   largest_difference: largest absolute difference of means
--   refused: the test is refused
--   reason: why
--   resamples: sign flips
--   seed: their seed
--   method: how p was computed, and its null: the conditions exchangeable within a question, not equal means
select
  run_id,
  features_run,
  sae_id,
  layer,
  site,
  stratum,
  condition_a,
  condition_b,
  max(n) as n,
  max(n_distinct) as n_distinct,
  max(n_tested) as n_tested,
  max(n_silent) as n_silent,
  case when not bool_or(refused) then count(*) filter (maxt_p <= 0.05) end as n_maxt,
  case when not bool_or(refused) then count(*) filter (bh_p <= 0.05) end as n_bh,
  case when not bool_or(refused) then count(*) filter (abs(published_effect) > published_threshold) end as n_published,
  max(published_threshold) as threshold,
  max(abs(difference)) as largest_difference,
  bool_or(refused) as refused,
  max(reason) as reason,
  max(resamples) as resamples,
  max(seed) as seed,
  max(method) as method
from feature_tests
join analysis_standing using (run_id)
where is_current
group by run_id, features_run, sae_id, layer, site, stratum, condition_a, condition_b
