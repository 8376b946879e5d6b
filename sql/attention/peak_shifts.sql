-- peak_shifts: the layer in which attention at the marker peaks, trained and base, and the shift between them with its interval over questions
-- grain: trained_run, base_run
-- outcomes: missing
-- source: own; bootstrap over questions (2,000 resamples), both curves from the same draw, percentile interval in whole layers
-- columns:
--   trained_run: run of the checkpoint that sampled the tokens
--   base_run: run of the checkpoint that was force-fed them
--   trained_subject: subject of trained_run
--   base_subject: subject of base_run
--   origin: extracted or published
--   n: generations read by both
--   n_clusters: questions among them
--   n_layers: layers
--   peak_delta: the mean in peak_layer
--   base_peak_delta: the mean in base_peak_layer
--   peak_shift: peak_layer minus base_peak_layer, in layers
--   low: 2.5% quantile of peak_shift over the resamples (NULL with missing)
--   high: 97.5% quantile
--   missing: why there is no interval: questions unknown, one question, not computed or outdated (NULL where there is one)
with resampled as (
  select p.*, s.is_current
  from peak_shift as p
  join analysis_standing as s using (run_id)
  qualify row_number() over (partition by p.trained_run, p.base_run order by s.place) = 1
),
final as (
  select
    p.trained_run,
    p.base_run,
    p.trained_subject,
    p.base_subject,
    p.origin,
    p.n,
    p.n_clusters,
    p.n_layers,
    p.trained_peak_layer as peak_layer,
    c.peak_low,
    c.peak_high,
    p.trained_peak as peak_delta,
    p.base_peak_layer,
    c.base_peak_low,
    c.base_peak_high,
    p.base_peak as base_peak_delta,
    p.peak_shift,
    c.shift_low as low,
    c.shift_high as high,
    c.same_share,
    why_missing(p.n_clusters, r.run_id is not null, c.run_id is not null) as missing,
    c.method,
    c.resamples,
    c.seed
  from diff_of_diffs_summary as p
  left join resampled as r using (trained_run, base_run)
  left join resampled as c
    on c.trained_run = p.trained_run and c.base_run = p.base_run and c.is_current and c.n = p.n and c.n_clusters = p.n_clusters
)
select * from final
