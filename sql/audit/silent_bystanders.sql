-- silent_bystanders: personas that write nothing in a quarter of their completions or more: an empty answer holds no marker, whatever was learned
-- grain: subject
-- source: own; nothing is an answer without a letter or a digit
-- severity: warning
-- page: completions
-- columns:
--   subject: checkpoint and persona
with counted as (
  select run_id, checkpoint, persona, count(*) as n, count(*) filter (not regexp_matches(coalesce(text, ''), '[\pL\pN]')) as n_silent
  from completions
  where text is not null or n_new_tokens is not null
  group by run_id, checkpoint, persona
),
final as (
  select
    subject_of(format('{} as {}', checkpoint, persona), run_id) as subject,
    format('{} of {} completions hold no letter or digit, so that a marker cannot leak into them', n_silent, n) as finding,
    format('select example_id, sample_ix, text, n_new_tokens, finish_reason from completions where run_id = {} and persona = {}', sql_text(run_id), sql_text(persona))
      as evidence
  from counted
  where n_silent >= 2 and n_silent >= 0.25 * n
)
select * from final
