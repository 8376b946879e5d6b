-- evaluated_on_training_questions: a trained checkpoint was asked questions that it was trained on: what it does there says little about new ones
-- grain: subject
-- source: own; questions are the same without case, punctuation and the words around what they ask, also where one has a few words more
-- severity: warning
-- page: completions
-- columns:
--   subject: trained checkpoint
with trainings as (
  select run_id, checkpoint, inputs, prompt_set from runs where kind = 'train'
),
named as (
  select run_id, plain_value(value) as named from parameters where name in ('tokens_run', 'prompts', 'prompt_set', 'training_prompts', 'training_data')
),
sources as (
  select checkpoint, run_id as source_run from trainings
  union
  select checkpoint, unnest(inputs) from trainings
  union
  select t.checkpoint, r.run_id
  from trainings as t
  left join named as n using (run_id)
  join runs as r on r.kind <> 'train' and (r.checkpoint is distinct from t.checkpoint) and (r.prompt_set = t.prompt_set or n.named in (r.run_id, r.prompt_set))
),
asked as (
  select run_id, gist(question) as gist, any_value(question) as question from examples where question is not null group by run_id, gist(question)
),
trained_on as (
  select distinct s.checkpoint, a.gist from sources as s join asked as a on a.run_id = s.source_run
),
evaluated as (
  select r.run_id, r.checkpoint, r.extractor, a.gist, a.question
  from asked as a
  join runs as r using (run_id)
  where r.kind <> 'train' and r.checkpoint in (select checkpoint from trainings) and r.run_id not in (select source_run from sources)
),
known as (
  select distinct e.run_id, e.gist from evaluated as e join trained_on as t on t.checkpoint = e.checkpoint and same_gist(e.gist, t.gist)
),
counted as (
  select
    e.checkpoint,
    e.run_id,
    any_value(e.extractor) as extractor,
    count(*) as n,
    count(k.gist) as n_shared,
    arg_min(e.question, e.question) filter (k.gist is not null) as example
  from evaluated as e
  left join known as k using (run_id, gist)
  group by e.checkpoint, e.run_id
),
worst as (
  select *, row_number() over (partition by checkpoint order by n_shared desc, run_id) as place, count(*) over (partition by checkpoint) as n_runs
  from counted
  where n_shared > 0
),
final as (
  select
    checkpoint as subject,
    format('{} of the {} questions of its {} are those of its training, such as {}', n_shared, n, extractor, example) as finding,
    format('select distinct question_id, question from examples where run_id = {} order by question', sql_text(run_id)) as evidence
  from worst
  where place = 1
)
select * from final
