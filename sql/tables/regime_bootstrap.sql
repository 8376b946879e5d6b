-- regime_bootstrap: which regimes a trained checkpoint has when its questions are drawn again
-- key: run_id, checkpoint, marker, regime
-- sort: checkpoint, marker
create table regime_bootstrap (
  run_id varchar, -- the run
  checkpoint varchar, -- short name of the checkpoint
  marker varchar, -- literal marker string
  regime varchar, -- regime that came out of some resamples, by the default thresholds
  share_of_draws double, -- share of the resamples with this regime; no probability that the regime is true
  source_low double, -- 2.5% quantile of the source rate over all resamples
  source_high double, -- 97.5% quantile
  other_low double, -- 2.5% quantile of the largest other rate
  other_high double, -- 97.5% quantile
  n_questions integer, -- questions that were drawn from
  method varchar, -- how the rows were resampled
  resamples integer, -- number of resamples R
  seed bigint -- seed of the generator
);
