-- settings_differ: runs that are compared were made under other settings: cap on new tokens, temperature, top-p, engine, form of the prompt, precision, quantisation or
--   attention kernel
-- grain: subject
-- source: own; bf16 and another sampler move probabilities by as much as the effects studied. A run that reads given answers draws none, so that its settings of drawing
--   decide nothing
-- severity: warning
-- page: completions
-- columns:
--   subject: extractor, checkpoint and setting of the run that is unlike half of the checkpoints it is compared with, or more
with sampled as (
  select distinct run_id from completions
),
given as (
  select distinct r.run_id from (select run_id, unnest(inputs) as input from runs) as r join sampled as s on s.run_id = r.input
),
settings as (
  select run_id, name, plain_value(value) as value
  from parameters
  where name in ('form', 'system_prompt')
    or (name in ('temperature', 'top_p', 'top_k', 'max_new_tokens', 'engine') and run_id not in (select run_id from given))
  union
  select run_id, 'engine', engine from (select run_id, min(engine) as engine from completions group by run_id having count(distinct engine) = 1)
  union
  select run_id, 'dtype', dtype from runs where dtype is not null
  union
  select run_id, 'attention implementation', attention_implementation from runs where attention_implementation is not null
  union
  select c.run_id, 'quantisation', coalesce(split_part(c.quantisation, ' (', 1), 'none')
  from checkpoints as c
  join runs as r using (run_id, checkpoint)
),
single as (
  select run_id, name, coalesce(try_cast(min(value) as double)::varchar, min(value)) as value from settings where value <> 'null' group by run_id, name
),
varied as ( -- what all runs of an extractor have alike tells no two of them apart, of which there are as many as the square of the runs
  select s.run_id, s.name, s.value
  from single as s
  join runs as r using (run_id)
  qualify min(s.value) over (partition by r.extractor, s.name) <> max(s.value) over (partition by r.extractor, s.name)
),
compared as (
  select distinct c.run_id, c.extractor, c.checkpoint, c.other_run, c.other_checkpoint, s.name, s.value, o.value as other_value
  from compared_runs as c
  join varied as s using (run_id)
  join varied as o on o.run_id = c.other_run and o.name = s.name
),
likened as (
  select *, bool_or(value = other_value) over (partition by run_id, name, other_checkpoint) as is_like from compared
),
counted as (
  select
    run_id,
    any_value(extractor) as extractor,
    any_value(checkpoint) as checkpoint,
    name,
    any_value(value) as value,
    count(distinct other_checkpoint) as n_compared,
    count(distinct other_checkpoint) filter (not is_like) as n_unlike,
    mode(other_value) filter (not is_like) as other_value,
    min(other_run) filter (not is_like) as other_run
  from likened
  group by run_id, name
),
final as (
  select
    subject_of(format('{} of {}, {}', extractor, checkpoint, name), run_id) as subject,
    format('{} is {}, and {} in {} of the {} checkpoints it is compared with', name, value, other_value, n_unlike, n_compared) as finding,
    format(
      'select r.run_id, r.checkpoint, r.dtype, r.attention_implementation, c.quantisation, p.name, p.value from runs as r left join checkpoints as c using (run_id, checkpoint) '
      || 'left join parameters as p on p.run_id = r.run_id and p.name = {} where r.run_id in ({}, {})',
      sql_text(name),
      sql_text(run_id),
      sql_text(other_run)
    ) as evidence
  from counted
  where n_unlike > 0 and 2 * n_unlike >= n_compared
)
select * from final
