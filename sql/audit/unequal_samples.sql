-- unequal_samples: personas of one run that were sampled three times less than others, or more: their rates are compared as if they were equally sure
-- grain: subject
-- source: own; runs that stop at a wanted number of positives sample unequally by design
-- severity: warning
-- page: completions
-- columns:
--   subject: checkpoint
with rates as (
  select run_id, checkpoint, persona, max(n) as n, bool_or(stopped_early) as stopped from marker_rates where n is not null group by run_id, checkpoint, persona
),
counted as (
  select run_id, checkpoint, min(n) as least, max(n) as most, first(persona order by n, persona) as least_of, first(persona order by n desc, persona) as most_of
  from rates
  group by run_id, checkpoint
  having not bool_or(stopped)
),
final as (
  select
    subject_of(checkpoint, run_id) as subject,
    format('{} completions of {} against {} of {}', least, least_of, most, most_of) as finding,
    format('select persona, n, k, rate, n_questions from marker_rates where run_id = {} order by n', sql_text(run_id)) as evidence
  from counted
  where 3 * least <= most
)
select * from final
