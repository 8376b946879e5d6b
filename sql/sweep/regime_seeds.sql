-- regime_seeds: one point of a sweep over all its training seeds: mean, spread and regimes
-- grain: origin, parent, source, marker, recipe, lr, epochs
-- source: own; the seed is a random effect, the spread between seeds is the sample standard deviation
-- columns:
--   origin: extracted or published
--   parent: checkpoint the sweep started from (NULL where published files do not say)
--   source: persona trained to emit the marker
--   recipe: what else the training was given, as in the view recipes: trainings of two recipes are no cells of one sweep
--   n_seeds: training seeds
--   seeds: the seeds
--   regimes: regimes that came out, each once
--   source_rate_mean: mean over seeds of the source rate
--   source_rate_sd: standard deviation over seeds (NULL for one seed)
--   source_rate_min: smallest
--   source_rate_max: largest
--   source_rate_low: lower end of the 95% interval of source_rate_mean over seeds as a random effect, Student t with n_seeds - 1 degrees of freedom, for these questions (NULL below three
--     seeds, or where they do not differ)
--   source_rate_high: upper end
--   source_rate_next_low: lower end of the 95% prediction interval: where the next seed is expected, within 0 and 1
--   source_rate_next_high: upper end
--   max_other_rate_mean: mean over seeds of the largest other rate
--   max_other_rate_sd: standard deviation over seeds (NULL for one seed)
--   max_other_rate_max: largest
--   max_other_rate_low: lower end of the 95% interval of max_other_rate_mean over seeds as a random effect, Student t with n_seeds - 1 degrees of freedom, for these questions (NULL below three
--     seeds, or where they do not differ)
--   max_other_rate_high: upper end
--   max_other_rate_next_low: lower end of the 95% prediction interval: where the next seed is expected, within 0 and 1
--   max_other_rate_next_high: upper end
with per_seed as (
  select origin, parent, source, marker, recipe, lr, epochs, seed, avg(source_rate) as source_rate, avg(max_other_rate) as max_other_rate, list(distinct regime) as regimes
  from regimes
  group by origin, parent, source, marker, recipe, lr, epochs, seed
),
gathered as (
  select
    origin,
    parent,
    source,
    marker,
    recipe,
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
  group by origin, parent, source, marker, recipe, lr, epochs
),
bounded as (
  select *, seeds_quantile(n_seeds) as quantile from gathered
),
final as (
  select
    * exclude (quantile),
    as_rate(source_rate_mean - mean_reach(quantile, source_rate_sd, n_seeds)) as source_rate_low,
    as_rate(source_rate_mean + mean_reach(quantile, source_rate_sd, n_seeds)) as source_rate_high,
    as_rate(source_rate_mean - next_reach(quantile, source_rate_sd, n_seeds)) as source_rate_next_low,
    as_rate(source_rate_mean + next_reach(quantile, source_rate_sd, n_seeds)) as source_rate_next_high,
    as_rate(max_other_rate_mean - mean_reach(quantile, max_other_rate_sd, n_seeds)) as max_other_rate_low,
    as_rate(max_other_rate_mean + mean_reach(quantile, max_other_rate_sd, n_seeds)) as max_other_rate_high,
    as_rate(max_other_rate_mean - next_reach(quantile, max_other_rate_sd, n_seeds)) as max_other_rate_next_low,
    as_rate(max_other_rate_mean + next_reach(quantile, max_other_rate_sd, n_seeds)) as max_other_rate_next_high
  from bounded
)
select * from final
