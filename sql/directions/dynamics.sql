-- dynamics: a training step by step, from the checkpoints that it kept: when the marker comes and leaks, and when the persona's direction is what it ends as
-- grain: run_id, step, prompt_set, marker, direction, layer, site
-- source: own; trainings that kept checkpoints (keep_steps), the trained one last; marker rates during training as published (issue 224). Intervals of rates as in
--   marker_rates, the personas of a role pooled by question; projections and cosines as in drift and direction_cosines. Of several runs over the same prompts the
--   newest stands for a checkpoint, and the newest directions of the trained checkpoint that point to its source
-- columns:
--   run_id: run of the training, or of the published file
--   origin: extracted or published
--   training: checkpoint that the training made
--   step: optimiser steps done; 0 is the untrained model
--   checkpoint: the checkpoint of that step (NULL where published)
--   is_final: it is the trained one
--   epoch: epochs done
--   loss: mean loss per supervised token of that step (NULL before the first)
--   prompt_set: prompts that the rates are of (NULL where none were sampled)
--   rates_run: run of the completions
--   rate: share of completions under the source persona with the marker
--   rate_low: lower end of its 95% interval by question (NULL where the questions are unknown)
--   rate_high: upper end
--   others_rate: the leak: the same under all other personas together
--   others_low: lower end
--   others_high: upper end
--   negative_rate: the same under personas that were trained on without the marker
--   negative_low: lower end
--   negative_high: upper end
--   held_out_rate: the same under personas that were never trained on
--   held_out_low: lower end
--   held_out_high: upper end
--   n: completions under the source
--   n_others: completions under the others
--   n_questions: questions asked under the source (NULL where published)
--   direction: direction of the trained checkpoint that points to its source (NULL where there is none)
--   directions_run: its run
--   cosine: cosine of it with the direction of the same name in the checkpoint of the step, made on the same half of the questions; 1 at the end
--   ceiling: cosine that two noisy readings of one and the same direction would have
--   projection: mean projection of the answers under the source on the trained checkpoint's direction, the model of each step reading the trained one's answers
--   projection_low: lower end of its 95% interval, Student t over questions
--   projection_high: upper end
--   others_projection: the same under the other personas, a mean over them
--   own_projection: the same as projection for the answers that the checkpoint of the step wrote itself
--   own_projection_low: lower end
--   own_projection_high: upper end
with trainings as (
  select run_id, checkpoint as training
  from runs
  where extractor = 'marker-lora' and run_id in (select run_id from checkpoints where step is not null)
),
lengths as (
  select run_id, max(step) as last_step, max(epoch) as epochs from training group by run_id
),
series as (
  select
    t.run_id,
    t.training,
    c.checkpoint,
    c.revision,
    c.source_persona,
    c.lr,
    c.seed,
    c.step is null as is_final,
    coalesce(c.step, l.last_step) as step,
    l.epochs * coalesce(c.step, l.last_step) / l.last_step as epoch,
    x.loss
  from trainings as t
  join checkpoints as c using (run_id)
  join lengths as l using (run_id)
  left join training as x on x.run_id = t.run_id and x.step = coalesce(c.step, l.last_step)
),
made as (
  select run_id, extractor, checkpoint, prompt_set, inputs, finished from runs
),
readings as (
  select s.run_id as trained_by, s.training, s.step, s.is_final, s.source_persona, s.checkpoint, s.revision, c.run_id, m.prompt_set, m.inputs, m.finished
  from series as s
  join checkpoints as c on c.checkpoint = s.checkpoint and c.revision = s.revision
  join made as m on m.run_id = c.run_id
  where c.run_id <> s.run_id
),
asked as (
  select r.*, t.persona, t.marker, t.question_id, t.n_present, t.n_trials, coalesce(o.role, 'held_out') as role
  from readings as r
  join marker_trials as t using (run_id)
  left join persona_roles as o on o.checkpoint = r.checkpoint and o.revision = r.revision and o.persona = t.persona
),
newest as (
  select * from asked qualify dense_rank() over (partition by trained_by, step, prompt_set, marker order by finished desc, run_id) = 1
),
grouped as (
  select *, role as part, 'by role' as family from newest
  union all
  select *, 'others', 'together' from newest where role <> 'source'
),
questions as (
  select
    trained_by,
    step,
    prompt_set,
    marker,
    any_value(run_id) as rates_run,
    family,
    part,
    question_id,
    sum(n_present)::bigint as k,
    sum(n_trials)::bigint as n
  from grouped
  group by trained_by, step, prompt_set, marker, family, part, question_id
),
centred as (
  select *, sum(k) over cells / sum(n) over cells as rate, n / sum(n) over cells as share
  from questions
  window cells as (partition by trained_by, step, prompt_set, marker, family, part)
),
sums as (
  select
    trained_by,
    step,
    prompt_set,
    marker,
    any_value(rates_run) as rates_run,
    family,
    part,
    any_value(rate) as rate,
    sum(n)::bigint as n,
    count(*) as n_clusters,
    cr2_squares(n, k, rate, share) as cluster_squares,
    coalesce(cr2_df(share), 1) as t_df,
    sum(n ** 2) as cluster_sizes,
    n_informative(k, n) as n_informative
  from centred
  group by trained_by, step, prompt_set, marker, family, part
),
told as (
  select *, rate_icc(n, rate, n_clusters, cluster_squares, cluster_sizes) as own_icc from sums
),
weighed as (
  select *, prior_icc(own_icc, n_informative, (trained_by, step, prompt_set, marker, family)) as prior from told
),
sized as (
  select *, n_effective(n, cluster_sizes, settled_icc(own_icc, n_informative, prior)) as n_effective from weighed
),
quantiles as (
  select t_df, student_t_quantile(0.975, t_df) as t from (select distinct t_df from sums)
),
bounded as (
  select s.*, rate_low(rate, n_effective, t) as low, rate_high(rate, n_effective, t) as high
  from sized as s
  join quantiles using (t_df)
),
rates as (
  select
    trained_by,
    step,
    prompt_set,
    marker,
    any_value(rates_run) as rates_run,
    max(rate) filter (part = 'source') as rate,
    max(low) filter (part = 'source') as rate_low,
    max(high) filter (part = 'source') as rate_high,
    max(rate) filter (part = 'others') as others_rate,
    max(low) filter (part = 'others') as others_low,
    max(high) filter (part = 'others') as others_high,
    max(rate) filter (part = 'negative') as negative_rate,
    max(low) filter (part = 'negative') as negative_low,
    max(high) filter (part = 'negative') as negative_high,
    max(rate) filter (part = 'held_out') as held_out_rate,
    max(low) filter (part = 'held_out') as held_out_low,
    max(high) filter (part = 'held_out') as held_out_high,
    max(n) filter (part = 'source') as n,
    max(n) filter (part = 'others') as n_others,
    max(n_clusters) filter (part = 'source') as n_questions
  from bounded
  group by trained_by, step, prompt_set, marker
),
places as (
  select r.trained_by, r.training, r.source_persona, d.run_id as directions_run, d.direction, d.layer, d.site
  from readings as r
  join directions as d on d.run_id = r.run_id and d.persona = r.source_persona and d.control_of is null
  where r.is_final
  qualify row_number() over (partition by r.trained_by, d.direction, d.layer, d.site order by r.finished desc, d.run_id) = 1
),
turned as (
  select r.trained_by, r.step, p.direction, p.layer, p.site, c.cosine, c.ceiling
  from places as p
  join direction_cosines as c
    on c.other_run_id = p.directions_run
    and c.other_direction = p.direction
    and c.direction = p.direction
    and c.layer = p.layer
    and c.site = p.site
    and c.half is not distinct from c.other_half
  join readings as r on r.run_id = c.run_id and r.trained_by = p.trained_by
  where not r.is_final
  qualify row_number() over (partition by r.trained_by, r.step, p.direction, p.layer, p.site order by r.finished desc, r.run_id) = 1
),
lain as (
  select
    r.trained_by,
    r.step,
    p.direction,
    p.layer,
    p.site,
    t.checkpoint = r.training as is_given,
    t.checkpoint = r.checkpoint as is_own,
    r.run_id,
    any_value(r.finished) as finished,
    avg(d.mean) filter (d.persona = p.source_persona) as mean,
    min(d.low) filter (d.persona = p.source_persona) as low,
    max(d.high) filter (d.persona = p.source_persona) as high,
    avg(d.mean) filter (d.persona <> p.source_persona) as others
  from places as p
  join drift as d
    on d.directions_run = p.directions_run
    and d.direction = p.direction
    and d.layer = p.layer
    and d.site = p.site
    and d.stratum = 'answer_mean'
    and d.condition is null
    and not d.seen
  join readings as r on r.run_id = d.run_id and r.trained_by = p.trained_by
  join made as t on list_contains(r.inputs, t.run_id) and t.extractor = 'completions'
  group by r.trained_by, r.step, p.direction, p.layer, p.site, is_given, is_own, r.run_id
),
given as (
  select * from lain where is_given qualify row_number() over (partition by trained_by, step, direction, layer, site order by finished desc, run_id) = 1
),
own as (
  select * from lain where is_own qualify row_number() over (partition by trained_by, step, direction, layer, site order by finished desc, run_id) = 1
),
extracted as (
  select
    s.run_id,
    'extracted' as origin,
    s.training,
    s.step,
    s.checkpoint,
    s.is_final,
    s.source_persona,
    s.lr,
    s.seed,
    s.epoch,
    s.loss,
    r.prompt_set,
    r.marker,
    r.rates_run,
    r.rate,
    r.rate_low,
    r.rate_high,
    r.others_rate,
    r.others_low,
    r.others_high,
    r.negative_rate,
    r.negative_low,
    r.negative_high,
    r.held_out_rate,
    r.held_out_low,
    r.held_out_high,
    r.n,
    r.n_others,
    r.n_questions,
    p.direction,
    p.layer,
    p.site,
    p.directions_run,
    case when s.is_final and p.direction is not null then 1.0 else t.cosine end as cosine,
    t.ceiling,
    g.mean as projection,
    g.low as projection_low,
    g.high as projection_high,
    g.others as others_projection,
    o.mean as own_projection,
    o.low as own_projection_low,
    o.high as own_projection_high
  from series as s
  left join rates as r on r.trained_by = s.run_id and r.step = s.step
  left join places as p on p.trained_by = s.run_id
  left join turned as t on t.trained_by = s.run_id and t.step = s.step and t.direction = p.direction and t.layer = p.layer and t.site = p.site
  left join given as g on g.trained_by = s.run_id and g.step = s.step and g.direction = p.direction and g.layer = p.layer and g.site = p.site
  left join own as o on o.trained_by = s.run_id and o.step = s.step and o.direction = p.direction and o.layer = p.layer and o.site = p.site
),
written as (
  select
    d.run_id,
    'published' as origin,
    any_value(d.checkpoint) as training,
    d.step,
    any_value(c.source_persona) as source_persona,
    any_value(c.lr) as lr,
    any_value(c.seed) as seed,
    max(d.rate) filter (d.persona = c.source_persona) as rate,
    sum(d.found) filter (d.persona <> c.source_persona) / nullif(sum(d.total) filter (d.persona <> c.source_persona), 0) as others_rate,
    max(d.total) filter (d.persona = c.source_persona)::bigint as n,
    sum(d.total) filter (d.persona <> c.source_persona)::bigint as n_others
  from published_dynamics as d
  left join checkpoints as c using (run_id, checkpoint)
  group by d.run_id, d.step
),
final as (
  select * from extracted
  union all by name
  select * from written
)
select * from final
