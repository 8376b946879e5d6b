-- marker_in_prompt: the marker stands in a prompt: a model that repeats it emits it without having learned anything
-- grain: subject
-- source: own; without regard to case and spaces, in the system prompt, the question, or the prompt as it was rendered
-- severity: error
-- page: completions
-- columns:
--   subject: checkpoint and marker
with markers as (
  select run_id, any_value(checkpoint) as checkpoint, marker from marker_flags group by run_id, marker
  union
  select p.run_id, r.checkpoint, plain_value(p.value)
  from parameters as p
  join runs as r using (run_id)
  where p.name = 'marker' and r.kind = 'extract' and length(plain_value(p.value)) > 1
),
spelt as (
  select *, lower(replace(marker, ' ', '')) as folded_marker from markers where length(trim(marker)) > 1
),
prompts as (
  select
    run_id,
    example_id,
    persona,
    lower(replace(coalesce(system_prompt, ''), ' ', '')) as system_folded,
    lower(replace(concat(question, text), ' ', '')) as rest_folded
  from examples
),
found as (
  select m.run_id, m.checkpoint, m.marker, p.example_id, p.persona, contains(p.system_folded, m.folded_marker) as in_system
  from spelt as m
  join prompts as p using (run_id)
  where contains(p.system_folded, m.folded_marker) or contains(p.rest_folded, m.folded_marker)
),
sizes as (
  select run_id, count(*) as n from examples group by run_id
),
final as (
  select
    subject_of(concat_ws(', ', any_value(f.checkpoint), any_value(f.marker)), f.run_id) as subject,
    format(
      'the marker stands in {} of {} prompts, in {} of them in the system prompt (personas {})',
      count(*),
      any_value(s.n),
      count(*) filter (f.in_system),
      string_agg(distinct f.persona, ', ' order by f.persona)
    ) as finding,
    format(
      'select example_id, system_prompt, question from examples where run_id = {} and (contains(lower(replace(concat(system_prompt, question, text), chr(32), {})), {}))',
      sql_text(f.run_id),
      sql_text(''),
      sql_text(any_value(f.marker_folded))
    ) as evidence
  from (select *, lower(replace(marker, ' ', '')) as marker_folded from found) as f
  join sizes as s using (run_id)
  group by f.run_id, f.marker
)
select * from final
