-- slice_cosines: how alike a persona, or a condition of the system prompt, is to every other inside one layer: cosine of their mean activations
-- grain: run_id, persona, measure, other, place, layer
-- source: own; persona_cosines with persona_cosine_intervals, and condition_similarity of activations with its intervals
-- columns as: slice
with checkpoints_read as (
  select run_id, checkpoint, subject from runs
),
-- activations that an autoencoder encoded are those of the prompts: beside a run that read them they would stand there twice
conditions as (
  select c.*, r.checkpoint, r.subject
  from condition_similarity as c
  join checkpoints_read as r using (run_id)
  where c.basis = 'activations' and c.condition_a <> c.condition_b
  qualify rank() over (partition by r.subject, c.layer, c.site, c.stratum, c.condition_a, c.condition_b order by c.sae_id is not null) = 1
),
cosines as (
  unpivot (select * exclude (norm, norm_centered) from persona_cosines where persona <> other_persona)
  on cosine, cosine_centered
  into name name value value
),
sure as (
  select
    * exclude (corrected, low, high, corrected_centered, low_centered, high_centered),
    unnest(
      [
        {'name': 'cosine', 'corrected': corrected, 'low': low, 'high': high},
        {'name': 'cosine_centered', 'corrected': corrected_centered, 'low': low_centered, 'high': high_centered}
      ],
      recursive := true
    )
  from persona_cosine_intervals
),
final as (
  select
    'personas' as topic,
    c.checkpoint,
    c.subject,
    c.persona,
    c.layer,
    null::integer as head,
    case c.name when 'cosine' then 'cosine of mean activations' else 'cosine of mean activations, mean over personas subtracted' end
      || case when s.corrected is null then '' else ', corrected for few questions' end as measure,
    'persona ' || c.other_persona as other,
    null::varchar as other_checkpoint,
    concat_ws(' · ', c.stratum, c.site, c.condition) as place,
    coalesce(s.corrected, c.value) as value,
    s.low,
    s.high,
    'cosine' as unit,
    least(c.n, c.n_other) as n,
    'activations of the smaller side' as n_of,
    s.n_questions as n_clusters,
    null::double as p,
    case when s.low is null then 'cosine of two means, no interval' else '95% interval: jackknife over questions, this pair alone' end as method,
    null::varchar as verdict,
    'extracted' as origin,
    case when s.corrected is null then 'persona_cosines' else 'persona_cosine_intervals' end as source,
    'personas' as page,
    c.run_id,
    null::varchar as base_run
  from cosines as c
  left join sure as s
    on s.run_id = c.run_id
    and s.stratum = c.stratum
    and s.layer = c.layer
    and s.site = c.site
    and s.persona = c.persona
    and s.other_persona = c.other_persona
    and s.name = c.name
    and s.condition is not distinct from c.condition
  union all
  select
    'personas',
    c.checkpoint,
    c.subject,
    c.condition_a,
    c.layer,
    null,
    case when c.corrected is null then 'cosine of mean activations' else 'cosine of mean activations, corrected for few questions' end,
    'condition ' || c.condition_b,
    null,
    concat_ws(' · ', c.stratum, c.site, c.sae_id),
    coalesce(c.corrected, c.cosine),
    c.low,
    c.high,
    'cosine',
    least(c.n_a, c.n_b),
    'activations of the smaller side',
    c.n_clusters,
    null,
    case when c.low is null then 'cosine of two means, no interval' else '95% interval: jackknife over questions, this pair alone' end,
    null,
    c.origin,
    'condition_similarity',
    'features',
    c.run_id,
    null
  from conditions as c
)
select * from final
