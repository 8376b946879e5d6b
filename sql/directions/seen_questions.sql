-- seen_questions: whether what a run asks was asked when its directions were made, by the words of the questions
-- grain: run_id, directions_run, made_from, question_id
-- source: own; runs of projections and of steering, and the runs of activations that their directions were made from, whose halves go by the ids of questions
-- columns:
--   run_id: run of projections or of steering
--   directions_run: run of the directions it used
--   made_from: run of activations these were made from
--   question_id: the question, or the conversation, that is read
--   asked_as: this id (the same words under the same id, whose half then tells whether a direction was made on it), another id (the same words under another
--     id, whose half is not known here: taken as made on), or no. Words are the same without case and white space; of conversations the whole is
--     compared, each beginning of one with the other, and single questions with each message of the user
with users as (
  select run_id, unnest(inputs) as directions_run from runs where extractor in ('projections', 'steering')
),
pairs as (
  select distinct u.run_id, u.directions_run, d.made_from
  from users as u
  join (select distinct run_id, made_from from directions where half is not null) as d on d.run_id = u.directions_run
),
wanted as (
  select run_id from pairs
  union
  select made_from from pairs
),
sources as (
  select run_id, run_id as source_run from wanted
  union
  select run_id, unnest(inputs) from runs semi join wanted using (run_id)
),
talks as (
  select run_id, question_id, list(same_words(question) order by turn) as messages
  from turns
  where run_id in (select source_run from sources)
  group by run_id, question_id, example_id, sample_ix
),
spoken as (
  select distinct run_id, question_id, messages from talks
  union
  select distinct e.run_id, e.question_id, [same_words(e.question)]
  from examples as e
  anti join talks as t on t.run_id = e.run_id and t.question_id = e.question_id
  where e.run_id in (select source_run from sources) and e.question is not null
),
texts as (
  select distinct s.run_id, p.question_id, p.messages from sources as s join spoken as p on p.run_id = s.source_run
),
wholes as (
  select run_id, question_id, messages::varchar as words from texts
),
pieces as (
  select run_id, question_id, unnest(list_transform(range(len(messages)), lambda n: messages[: n + 1]::varchar)) as words from texts
  union
  select run_id, question_id, unnest(list_transform(messages, lambda message: [message]::varchar)) from texts
),
met as (
  select p.run_id, p.made_from, w.question_id, q.question_id as other_id
  from (select distinct run_id, made_from from pairs) as p
  join wholes as w on w.run_id = p.run_id
  join pieces as q on q.run_id = p.made_from and q.words = w.words
  union
  select p.run_id, p.made_from, q.question_id, w.question_id
  from (select distinct run_id, made_from from pairs) as p
  join wholes as w on w.run_id = p.made_from
  join pieces as q on q.run_id = p.run_id and q.words = w.words
),
found as (
  select run_id, made_from, question_id, bool_or(other_id <> question_id) as elsewhere from met group by run_id, made_from, question_id
),
final as (
  select
    p.run_id,
    p.directions_run,
    p.made_from,
    t.question_id,
    case when f.elsewhere then 'another id' when not f.elsewhere then 'this id' else 'no' end as asked_as
  from pairs as p
  join (select distinct run_id, question_id from texts) as t on t.run_id = p.run_id
  left join found as f on f.run_id = p.run_id and f.made_from = p.made_from and f.question_id = t.question_id
  where p.made_from in (select run_id from texts)
)
select * from final
