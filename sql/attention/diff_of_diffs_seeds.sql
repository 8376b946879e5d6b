-- diff_of_diffs_seeds: trained minus base per layer over all training seeds of the same recipe: mean and spread between seeds
-- grain: parent, source_persona, lr, epochs, recipe, persona, base_checkpoint, dtype, attention_implementation, layer
-- source: own; the seed is the unit and a random effect, a seed that was read several times counts once with the mean of its readings
-- columns:
--   recipe: what else the training was given, as in the view recipes: trainings of two recipes are not compared
--   base_checkpoint: checkpoint that was force-fed the tokens
--   n_seeds: training seeds
--   seeds: the seeds
--   checkpoints: the trainings, of one seed each or of seeds that were trained more than once
--   n: generations read by both, over all seeds
--   n_clusters: questions, the fewest of any seed (NULL where one is unknown)
--   mean: mean over seeds of the difference of differences
--   seed_sd: standard deviation between seeds (NULL for one seed)
--   lowest: smallest of any seed
--   highest: largest of any seed
--   n_positive: seeds above 0
--   low: lower end of the 95% interval of the mean over seeds as a random effect, Student t with n_seeds - 1 degrees of freedom, for these questions (NULL below three
--     seeds, or where they do not differ)
--   high: upper end
--   next_low: lower end of the 95% prediction interval: where the next seed is expected
--   next_high: upper end
--   within_sem: clustered standard error of one seed, root mean square over seeds; a seed_sd far above it is training noise, not sampling noise
with layers as (
  select * from diff_of_diffs where origin = 'extracted'
),
pairs as (
  select trained_run, base_run, trained_checkpoint, base_checkpoint, persona from subject_pairs where origin = 'extracted'
),
made as (
  select run_id, dtype, attention_implementation from runs
),
per_seed as (
  select
    t.parent,
    t.source_persona,
    t.lr,
    t.epochs,
    t.recipe,
    t.seed,
    p.persona,
    p.base_checkpoint,
    m.dtype,
    m.attention_implementation,
    l.layer,
    list(distinct p.trained_checkpoint) as checkpoints,
    sum(l.n) as n,
    case when count(l.n_clusters) = count(*) then min(l.n_clusters) end as n_clusters,
    avg(l.diff_of_diffs) as diff_of_diffs,
    avg(l.clustered_sem ** 2) as variance
  from layers as l
  join pairs as p using (trained_run, base_run)
  join recipes as t on t.checkpoint = p.trained_checkpoint
  join made as m on m.run_id = l.trained_run
  where t.source_persona is not null
  group by t.parent, t.source_persona, t.lr, t.epochs, t.recipe, t.seed, p.persona, p.base_checkpoint, m.dtype, m.attention_implementation, l.layer
),
gathered as (
  select
    parent,
    source_persona,
    lr,
    epochs,
    recipe,
    persona,
    base_checkpoint,
    dtype,
    attention_implementation,
    layer,
    count(*) as n_seeds,
    list_sort(list(seed)) as seeds,
    list_sort(flatten(list(checkpoints))) as checkpoints,
    sum(n)::bigint as n,
    case when count(n_clusters) = count(*) then min(n_clusters) end as n_clusters,
    avg(diff_of_diffs) as mean,
    stddev_samp(diff_of_diffs) as seed_sd,
    min(diff_of_diffs) as lowest,
    max(diff_of_diffs) as highest,
    count(*) filter (diff_of_diffs > 0) as n_positive,
    sqrt(avg(variance)) as within_sem
  from per_seed
  group by parent, source_persona, lr, epochs, recipe, persona, base_checkpoint, dtype, attention_implementation, layer
),
bounded as (
  select *, seeds_quantile(n_seeds) as quantile from gathered
),
final as (
  select
    * exclude (quantile),
    mean - mean_reach(quantile, seed_sd, n_seeds) as low,
    mean + mean_reach(quantile, seed_sd, n_seeds) as high,
    mean - next_reach(quantile, seed_sd, n_seeds) as next_low,
    mean + next_reach(quantile, seed_sd, n_seeds) as next_high
  from bounded
)
select * from final
