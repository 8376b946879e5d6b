-- marker_rate_seeds: marker rate per persona over all training seeds of the same recipe: mean and spread between seeds
-- grain: parent, source_persona, lr, epochs, recipe, persona, marker
-- source: own; the seed is the unit and a random effect, a seed whose completions were sampled several times counts once with the mean of its rates
-- columns:
--   recipe: what else the training was given, as in the view recipes: trainings of two recipes are not compared
--   n_seeds: training seeds
--   seeds: the seeds
--   checkpoints: the trainings, of one seed each or of seeds that were trained more than once
--   n: completions sampled, over all seeds
--   n_questions: questions, the fewest of any seed
--   rate_mean: mean over seeds of the rate
--   rate_sd: standard deviation between seeds (NULL for one seed)
--   rate_min: smallest of any seed
--   rate_max: largest of any seed
--   low: lower end of the 95% interval of rate_mean over seeds as a random effect, Student t with n_seeds - 1 degrees of freedom, for these questions (NULL below three
--     seeds, or where they do not differ)
--   high: upper end
--   next_low: lower end of the 95% prediction interval: where the next seed is expected, within 0 and 1
--   next_high: upper end
--   within_se: clustered standard error of one seed's rate, root mean square over seeds
with rates as (
  select * from marker_rates where origin <> 'published'
),
per_seed as (
  select
    t.parent,
    t.source_persona,
    t.lr,
    t.epochs,
    t.recipe,
    t.seed,
    r.persona,
    r.marker,
    list(distinct r.checkpoint) as checkpoints,
    sum(r.n) as n,
    min(r.n_questions) as n_questions,
    avg(r.rate) as rate,
    avg(r.clustered_se ** 2) as variance
  from rates as r
  join recipes as t using (checkpoint)
  where t.source_persona is not null
  group by t.parent, t.source_persona, t.lr, t.epochs, t.recipe, t.seed, r.persona, r.marker
),
gathered as (
  select
    parent,
    source_persona,
    lr,
    epochs,
    recipe,
    persona,
    marker,
    count(*) as n_seeds,
    list_sort(list(seed)) as seeds,
    list_sort(flatten(list(checkpoints))) as checkpoints,
    sum(n)::bigint as n,
    min(n_questions) as n_questions,
    avg(rate) as rate_mean,
    stddev_samp(rate) as rate_sd,
    min(rate) as rate_min,
    max(rate) as rate_max,
    sqrt(avg(variance)) as within_se
  from per_seed
  group by parent, source_persona, lr, epochs, recipe, persona, marker
),
bounded as (
  select *, seeds_quantile(n_seeds) as quantile from gathered
),
final as (
  select
    * exclude (quantile),
    as_rate(rate_mean - mean_reach(quantile, rate_sd, n_seeds)) as low,
    as_rate(rate_mean + mean_reach(quantile, rate_sd, n_seeds)) as high,
    as_rate(rate_mean - next_reach(quantile, rate_sd, n_seeds)) as next_low,
    as_rate(rate_mean + next_reach(quantile, rate_sd, n_seeds)) as next_high
  from bounded
)
select * from final
