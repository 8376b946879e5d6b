-- greedy_repeats: repeats of one prompt that were decoded greedily, or never vary: they are one sample each, whatever n says
-- grain: subject
-- source: own
-- severity: error
-- page: completions
-- columns:
--   subject: checkpoint
with settings as (
  select
    run_id,
    min(try_cast(plain_value(value) as double)) filter (name = 'temperature') as temperature,
    min(try_cast(plain_value(value) as double)) filter (name = 'top_k') as top_k,
    bool_or(plain_value(value) = 'false') filter (name = 'do_sample') as is_greedy
  from parameters
  where name in ('temperature', 'top_k', 'do_sample')
  group by run_id
),
examples_of as (
  select run_id, checkpoint, example_id, count(*) as n, count(distinct text) as n_texts
  from completions
  where length(trim(text)) > 0
  group by run_id, checkpoint, example_id
),
counted as (
  select run_id, checkpoint, count(*) as n_examples, sum(n) as n, count(*) filter (n > 1) as n_repeated, count(*) filter (n > 1 and n_texts = 1) as n_constant, sum(n_texts) as n_texts
  from examples_of
  group by run_id, checkpoint
),
final as (
  select
    subject_of(c.checkpoint, c.run_id) as subject,
    format(
      '{} completions of {} prompts {}: {} different texts, so that repeats add nothing',
      c.n,
      c.n_examples,
      case when s.temperature = 0 or s.top_k = 1 or s.is_greedy then 'were decoded greedily' else 'never vary between repeats' end,
      c.n_texts
    ) as finding,
    format('select example_id, count(*) as n, count(distinct text) as n_texts from completions where run_id = {} group by example_id having count(*) > 1', sql_text(c.run_id))
      as evidence
  from counted as c
  left join settings as s using (run_id)
  where (c.n_repeated > 0 and (s.temperature = 0 or s.top_k = 1 or s.is_greedy)) or (c.n_repeated >= 4 and c.n_constant = c.n_repeated and c.n_texts >= 4)
)
select * from final
