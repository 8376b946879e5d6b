-- targets_of_several_tokens: words that the tokenizer splits: they are scored on their first token, which other words may share
-- grain: subject
-- source: own
-- severity: note
-- page: circuits
-- columns:
--   subject: checkpoint plus whose tokens it read, and the prompts
with split as (
  select
    subject as reader,
    prompt_set,
    string_agg(distinct sql_text(run_id), ', ' order by sql_text(run_id)) as runs,
    count(distinct target) filter (n_target_tokens > 1) as n_split,
    count(distinct target) as n_targets
  from predictions
  where stratum = 'last' and target is not null
  group by subject, prompt_set
),
final as (
  select
    concat_ws(', ', reader, prompt_set) as subject,
    format('{} of {} targets take several tokens and are scored on the first', n_split, n_targets) as finding,
    format('select distinct target, target_token, n_target_tokens from predictions where run_id in ({}) and n_target_tokens > 1 order by target', runs) as evidence
  from split
  where n_split > 0
)
select * from final
