-- peak_shifts: the layer in which attention at the marker peaks, trained and base, and the shift between them with its interval over questions
-- grain: trained_run, base_run
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
with pairs as (
  select * from diff_of_diffs_summary
),
standings as (
  select run_id, bool_and(status = 'current') as is_current, max(finished) as finished from analyses where extractor = 'peak-shift' group by run_id
),
resampled as (
  select p.*, s.is_current
  from peak_shift as p
  join standings as s using (run_id)
  qualify row_number() over (partition by p.trained_run, p.base_run order by s.is_current desc, s.finished desc, p.run_id) = 1
),
current as (
  select r.* from resampled as r join pairs as p using (trained_run, base_run) where r.is_current and r.n = p.n and r.n_clusters = p.n_clusters
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
    case
      when p.n_clusters is null then 'questions unknown'
      when p.n_clusters < 2 then 'one question'
      when r.run_id is null then 'not computed'
      when c.run_id is null then 'outdated'
    end as missing,
    c.method,
    c.resamples,
    c.seed
  from pairs as p
  left join resampled as r using (trained_run, base_run)
  left join current as c using (trained_run, base_run)
)
select * from final
