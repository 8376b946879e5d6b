-- regime_seeds: one point of a sweep over all its training seeds: mean, spread and regimes
-- grain: origin, parent, source, marker, lr, epochs
-- source: own; the spread between seeds is the sample standard deviation
-- columns:
--   origin: extracted or published
--   parent: checkpoint the sweep started from (NULL where published files do not say)
--   source: persona trained to emit the marker
--   n_seeds: training seeds
--   seeds: the seeds
--   regimes: regimes that came out, each once
--   source_rate_mean: mean over seeds of the source rate
--   source_rate_sd: standard deviation over seeds (NULL for one seed)
--   source_rate_min: smallest
--   source_rate_max: largest
--   max_other_rate_mean: mean over seeds of the largest other rate
--   max_other_rate_sd: standard deviation over seeds (NULL for one seed)
--   max_other_rate_max: largest
with per_seed as (
  select origin, parent, source, marker, lr, epochs, seed, avg(source_rate) as source_rate, avg(max_other_rate) as max_other_rate, list(distinct regime) as regimes
  from regimes
  group by origin, parent, source, marker, lr, epochs, seed
),
final as (
  select
    origin,
    parent,
    source,
    marker,
    lr,
    epochs,
    count(*) as n_seeds,
    list_sort(list(seed)) as seeds,
    list_sort(list_distinct(flatten(list(regimes)))) as regimes,
    avg(source_rate) as source_rate_mean,
    stddev_samp(source_rate) as source_rate_sd,
    min(source_rate) as source_rate_min,
    max(source_rate) as source_rate_max,
    avg(max_other_rate) as max_other_rate_mean,
    stddev_samp(max_other_rate) as max_other_rate_sd,
    max(max_other_rate) as max_other_rate_max
  from per_seed
  group by origin, parent, source, marker, lr, epochs
)
select * from final
