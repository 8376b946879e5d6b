-- leakage_summary: marker rates of one checkpoint by role: the source it was trained for, the assistant, the bystanders (those kept on the way of a training: dynamics)
-- grain: run_id, marker
-- source: README of the published sweep; both meanings of max_bystander, recomputed from the rates per persona
-- columns:
--   origin: extracted or published
--   record: kind of published result (NULL for own completions)
--   source: persona trained to emit the marker, by its name among the personas evaluated (NULL for a control, or where nothing tells)
--   n_personas: personas with a rate
--   n_completions: completions per persona, the least (NULL where unknown)
--   source_rate: rate under the source
--   source_rate_any_case: the source's rate without regard to case
--   source_first_share: share of the source's hits in which the marker opens the answer (NULL where unknown)
--   source_end_share: share in which it closes the answer
--   source_bare_share: share in which it stands in place of an answer
--   assistant_rate: rate under the assistant, whose training may have been meant for it
--   max_bystander_rate: largest rate over personas other than source and assistant (the sweep's meaning of max_bystander)
--   max_bystander_persona: the persona that has it, the first by name on ties
--   min_bystander_rate: smallest of the same
--   mean_bystander_rate: mean of the same
--   max_other_rate: largest rate over personas other than the source, assistant included (the later files' meaning of max_bystander)
--   max_other_persona: the persona that has it, the first by name on ties
--   roles_recorded: what the personas were in the training is known; false: the figures over negatives and held-out personas are NULL for want of a record
--   n_negatives: personas with a rate that were trained on without the marker (NULL where not recorded, as the following)
--   max_negative_rate: largest rate over them
--   max_negative_persona: the persona that has it, the first by name on ties
--   mean_negative_rate: mean over them
--   n_held_out: personas with a rate that were never trained on
--   max_held_out_rate: largest rate over them
--   max_held_out_persona: the persona that has it, the first by name on ties
--   mean_held_out_rate: mean over them
--   audience_rate: what a collapse is graded by: the assistant's rate, or max_other_rate where the assistant is the source itself
--   max_bystander_published: max_bystander of the file, or of the summary of the same panel (NULL where there is none)
--   max_bystander_meaning: bystanders, others, both (they agree) or neither: which recomputed figure the file's own equals
with trained as (
  select run_id, checkpoint, parent, source_persona, lr, epochs, seed, step from checkpoints
),
results as (
  select run_id, max_bystander from published_results
),
panels as (
  select checkpoint, any_value(max_bystander) as max_bystander from published_results where record = 'panel_summary' group by checkpoint
),
records as (
  select run_id, any_value(record) as record from published_rates group by run_id
),
roles as (
  select
    r.run_id,
    r.marker,
    r.checkpoint,
    r.origin,
    r.persona,
    r.role,
    r.n,
    r.rate,
    r.rate_any_case,
    r.first_share,
    r.end_share,
    r.bare_share,
    t.parent,
    t.source_persona,
    t.lr,
    t.epochs,
    t.seed,
    r.persona is not distinct from t.source_persona as is_source,
    r.persona = 'assistant' as is_assistant
  from marker_rates as r
  left join trained as t using (run_id, checkpoint)
  where t.step is null
),
summed as (
  select
    run_id,
    marker,
    any_value(checkpoint) as checkpoint,
    any_value(origin) as origin,
    any_value(parent) as parent,
    any_value(source_persona) as source,
    any_value(lr) as lr,
    any_value(epochs) as epochs,
    any_value(seed) as seed,
    count(rate) as n_personas,
    min(n) as n_completions,
    max(rate) filter (is_source) as source_rate,
    max(rate_any_case) filter (is_source) as source_rate_any_case,
    max(first_share) filter (is_source) as source_first_share,
    max(end_share) filter (is_source) as source_end_share,
    max(bare_share) filter (is_source) as source_bare_share,
    max(rate) filter (is_assistant) as assistant_rate,
    max(rate) filter (not is_source and not is_assistant) as max_bystander_rate,
    first(persona order by rate desc nulls last, persona) filter (not is_source and not is_assistant) as max_bystander_persona,
    min(rate) filter (not is_source and not is_assistant) as min_bystander_rate,
    avg(rate) filter (not is_source and not is_assistant) as mean_bystander_rate,
    max(rate) filter (not is_source) as max_other_rate,
    first(persona order by rate desc nulls last, persona) filter (not is_source) as max_other_persona,
    coalesce(bool_and(role <> 'not recorded'), false) as roles_recorded,
    count(rate) filter (role = 'negative') as n_negatives,
    max(rate) filter (role = 'negative') as max_negative_rate,
    first(persona order by rate desc nulls last, persona) filter (role = 'negative') as max_negative_persona,
    avg(rate) filter (role = 'negative') as mean_negative_rate,
    count(rate) filter (role = 'held_out') as n_held_out,
    max(rate) filter (role = 'held_out') as max_held_out_rate,
    first(persona order by rate desc nulls last, persona) filter (role = 'held_out') as max_held_out_persona,
    avg(rate) filter (role = 'held_out') as mean_held_out_rate
  from roles
  group by run_id, marker
),
final as (
  select
    s.run_id,
    s.checkpoint,
    s.marker,
    s.origin,
    p.record,
    s.parent,
    s.source,
    s.lr,
    s.epochs,
    s.seed,
    s.n_personas,
    s.n_completions,
    s.source_rate,
    s.source_rate_any_case,
    s.source_first_share,
    s.source_end_share,
    s.source_bare_share,
    s.assistant_rate,
    s.max_bystander_rate,
    s.max_bystander_persona,
    s.min_bystander_rate,
    s.mean_bystander_rate,
    s.max_other_rate,
    s.max_other_persona,
    s.roles_recorded,
    case when s.roles_recorded then s.n_negatives end as n_negatives,
    s.max_negative_rate,
    s.max_negative_persona,
    s.mean_negative_rate,
    case when s.roles_recorded then s.n_held_out end as n_held_out,
    s.max_held_out_rate,
    s.max_held_out_persona,
    s.mean_held_out_rate,
    audience_of(s.source, s.assistant_rate, s.max_other_rate) as audience_rate,
    coalesce(r.max_bystander, l.max_bystander) as max_bystander_published,
    case
      when max_bystander_published is null then null
      when abs(max_bystander_published - s.max_bystander_rate) < 1e-9 and abs(max_bystander_published - s.max_other_rate) < 1e-9 then 'both'
      when abs(max_bystander_published - s.max_bystander_rate) < 1e-9 then 'bystanders'
      when abs(max_bystander_published - s.max_other_rate) < 1e-9 then 'others'
      else 'neither'
    end as max_bystander_meaning
  from summed as s
  left join records as p using (run_id)
  left join results as r using (run_id)
  left join panels as l on p.record = 'marker_eval' and l.checkpoint = s.checkpoint
)
select * from final
