-- prompts_beyond_context: prompts or answers longer than the context a model was built for, or cut before it read them
-- grain: subject
-- source: own; positions in the model's configuration, and the prompt as it was rendered against the prompt that was read
-- severity: error
-- page: completions
-- columns:
--   subject: checkpoint
with lengths as (
  select
    c.run_id,
    c.checkpoint,
    count(*) as n,
    max(greatest(len(c.token_ids), c.prompt_len + coalesce(c.n_new_tokens, 0))) as longest,
    count(*) filter (len(c.token_ids) < c.prompt_len or e.prompt_len > c.prompt_len) as n_cut,
    list(distinct (c.example_id, c.prompt_len)) as prompts,
    list(greatest(len(c.token_ids), c.prompt_len + coalesce(c.n_new_tokens, 0))) as sizes
  from completions as c
  left join (select run_id, example_id, any_value(prompt_len) as prompt_len from examples group by run_id, example_id) as e using (run_id, example_id)
  group by c.run_id, c.checkpoint
  union all
  select e.run_id, r.checkpoint, count(*), max(greatest(e.prompt_len, len(e.token_ids))), count(*) filter (len(e.token_ids) < e.prompt_len), list(distinct (e.example_id, e.prompt_len)), list(greatest(e.prompt_len, len(e.token_ids)))
  from examples as e
  join runs as r using (run_id)
  where r.checkpoint is not null and e.run_id not in (select run_id from completions)
  group by e.run_id, r.checkpoint
),
cards as (
  select run_id, checkpoint, max_positions from checkpoints
),
judged as (
  select
    l.*,
    k.max_positions,
    len(list_filter(l.sizes, lambda size: size > k.max_positions)) as n_beyond,
    list_max(list_transform(l.prompts, lambda each: each[2])) as cap,
    len(list_filter(l.prompts, lambda each: each[2] = cap)) as n_full
  from lengths as l
  left join cards as k using (run_id, checkpoint)
),
lengthy as (
  select *, n_full >= 3 and len(prompts) > n_full and cap >= 256 and bit_count(cap::bigint) = 1 as is_full from judged
),
final as (
  select
    subject_of(checkpoint, run_id) as subject,
    concat_ws(
      '; ',
      case when n_beyond > 0 then format('{} of {} texts are longer than the {} positions of the model (the longest has {})', n_beyond, n, max_positions, longest) end,
      case when is_full then format('{} prompts have exactly {} tokens, as if they had been cut there', n_full, cap) end,
      case when n_cut > 0 then format('{} of {} prompts were cut before they were read', n_cut, n) end
    ) as finding,
    format(
      'select example_id, prompt_len, len(token_ids) as n_token_ids from completions where run_id = {} union all '
      || 'select example_id, prompt_len, len(token_ids) from examples where run_id = {} order by 2 desc',
      sql_text(run_id),
      sql_text(run_id)
    ) as evidence
  from lengthy
  where n_beyond > 0 or n_cut > 0 or is_full
)
select * from final
