-- prompts_differ: two runs that are compared were given other system prompts or conditions for the same persona, or prompts that were rendered otherwise
-- grain: subject
-- source: own; the published design changes nothing but the weights between a checkpoint and its base
-- severity: error
-- page: completions
-- columns:
--   subject: extractor and checkpoint of the run that is unlike half of those it is compared with, or more
with forms as ( -- runs in two forms are rendered otherwise by design: settings_differ tells where one form stands beside the other alone
  select run_id, min(plain_value(value)) as form from parameters where name = 'form' group by run_id
),
together as (
  select run_id, other_run, extractor, checkpoint, other_checkpoint from compared_runs
  union
  select r.run_id, i.input_run, r.extractor, r.checkpoint, o.checkpoint
  from runs as r, unnest(r.inputs) as i(input_run)
  join runs as o on o.run_id = i.input_run
  where r.kind = 'extract' and o.kind = 'extract'
  union -- whatever their prompt sets are called, as far as they ask the same questions
  select r.run_id, o.run_id, r.extractor, r.checkpoint, o.checkpoint
  from runs as r
  join checkpoints as c on c.run_id = r.run_id and c.checkpoint = r.checkpoint
  join lineage as l on l.checkpoint = c.checkpoint and l.parent = c.parent
  join runs as o on o.extractor = r.extractor and o.kind = 'extract' and o.checkpoint = l.parent_checkpoint
  where r.kind = 'extract'
),
compared as (
  select t.*
  from together as t
  left join forms as a on a.run_id = t.run_id
  left join forms as b on b.run_id = t.other_run
  where coalesce(a.form = b.form, true)
),
prompts as (
  select
    run_id,
    persona,
    question_id,
    folded(question) as question,
    condition,
    prompt_form,
    any_value(coalesce(system_prompt, '<none>')) as system_prompt,
    any_value(text) as text
  from examples
  group by run_id, persona, question_id, folded(question), condition, prompt_form
  having count(distinct coalesce(system_prompt, '<none>')) = 1
),
varied as ( -- asked otherwise in one run than in another: all others have no run that they are unlike
  select persona, question_id, question, condition, prompt_form
  from prompts
  group by persona, question_id, question, condition, prompt_form
  having min(hash(system_prompt, text)) <> max(hash(system_prompt, text))
),
doubted as (
  select distinct p.run_id
  from prompts as p
  join varied as v
    on v.persona is not distinct from p.persona
    and v.question_id = p.question_id
    and v.question is not distinct from p.question
    and v.condition is not distinct from p.condition
    and v.prompt_form is not distinct from p.prompt_form
),
judged as (
  select
    c.run_id,
    c.other_run,
    any_value(c.extractor) as extractor,
    any_value(c.checkpoint) as checkpoint,
    any_value(c.other_checkpoint) as other_checkpoint,
    count(*) as n,
    count(*) filter (a.system_prompt <> b.system_prompt) as n_system,
    count(*) filter (a.system_prompt = b.system_prompt and a.text <> b.text) as n_text,
    arg_min(a.persona, a.persona) filter (a.system_prompt <> b.system_prompt or a.text <> b.text) as persona
  from compared as c
  join doubted as d on d.run_id = c.run_id
  join prompts as a on a.run_id = c.run_id
  join prompts as b
    on b.run_id = c.other_run
    and b.persona is not distinct from a.persona
    and b.question_id = a.question_id
    and b.question is not distinct from a.question
    and b.condition is not distinct from a.condition
    and b.prompt_form is not distinct from a.prompt_form
  group by c.run_id, c.other_run
),
counted as (
  select *, count(*) over runs as n_compared, count(*) filter (n_system + n_text > 0) over runs as n_unlike from judged window runs as (partition by run_id)
),
odd as (
  select *, row_number() over (partition by run_id order by n_system + n_text desc, other_run) as place from counted where n_system + n_text > 0 and 2 * n_unlike >= n_compared
),
final as (
  select
    subject_of(format('{} of {}', extractor, checkpoint), run_id) as subject,
    format(
      'unlike {} of the {} runs it is compared with: {} of {} prompts are others than those of {}, {} by their system prompt and {} in how they were rendered (persona {})',
      n_unlike,
      n_compared,
      n_system + n_text,
      n,
      other_checkpoint,
      n_system,
      n_text,
      coalesce(persona, 'not named')
    ) as finding,
    format(
      'select run_id, persona, question_id, system_prompt, text from examples where run_id in ({}, {}) and persona is not distinct from {} order by question_id, run_id',
      sql_text(run_id),
      sql_text(other_run),
      coalesce(sql_text(persona), 'null')
    ) as evidence
  from odd
  where place = 1
)
select * from final
