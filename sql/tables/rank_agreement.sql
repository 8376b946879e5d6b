-- rank_agreement: how alike two measures rank the heads of a model, with an interval from questions drawn again
-- key: run_id, attribution_run, ablation_run, stratum, prompt_form, measure_a, measure_b, layer
-- sort: stratum, prompt_form, measure_a, measure_b, layer
create table rank_agreement (
  run_id varchar, -- the run
  attribution_run varchar, -- run of the direct attributions (NULL: none)
  ablation_run varchar, -- run of the ablations (NULL: none)
  stratum varchar, -- place that was read: last (last token of the prompt) or marker
  prompt_form varchar, -- phrasing of the task, none where there is one only, or all
  measure_a varchar, -- direct, direct_margin or sieve
  measure_b varchar, -- ablation it is compared with, and by what: log-probability, _margin or _logit
  layer integer, -- decoder layer, from 0 (NULL: all heads of the model)
  n integer, -- prompts
  n_clusters integer, -- questions among them
  n_heads integer, -- heads that are ranked
  low double, -- lower end of the percentile interval of the rank correlation of mean worths, which noise pulls towards 0 (NULL where one measure does not vary)
  high double, -- upper end
  reliability_a double, -- of the means by measure_a: rank correlation of halves of the questions, averaged over splits, at full length (Spearman-Brown), at least 0
  reliability_b double, -- the same by measure_b (NULL with fewer than four questions)
  corrected double, -- rank correlation corrected for the noise of both (Spearman 1904), from opposite halves (NULL where a half does not repeat the other)
  corrected_low double, -- lower end of its 95% interval: jackknife over questions, Student t
  corrected_high double, -- upper end
  prompt_spearman double, -- mean over prompts of the rank correlation at the single prompt
  method varchar, -- how the rows were resampled
  resamples integer, -- number of resamples R
  seed bigint -- seed of the generator
);
