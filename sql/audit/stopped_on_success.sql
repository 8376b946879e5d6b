-- stopped_on_success: sampling stopped once enough positives were there, which raises a rate: told by the run, or by questions that all end with their first positive
-- grain: subject
-- source: own; a rate then rises by up to about rate * (1 - rate) / positives
-- severity: note
-- page: completions
-- columns:
--   subject: checkpoint and persona
with told as (
  select run_id, checkpoint, persona, marker, n, k from marker_rates where stopped_early
),
ends as (
  select c.run_id, c.checkpoint, c.persona, f.marker, c.question_id, count(*) as n, count(*) filter (f.present) as k, arg_max(f.present, c.sample_ix) as last_is_positive
  from completions as c
  join marker_flags as f using (run_id, example_id, sample_ix)
  group by c.run_id, c.checkpoint, c.persona, f.marker, c.question_id
),
seen as (
  select run_id, checkpoint, persona, marker, sum(n) as n, sum(k) as k
  from ends
  group by run_id, checkpoint, persona, marker
  having count(*) filter (k > 0) >= 4
    and count(distinct n) > 1
    and bool_and(last_is_positive) filter (k > 0)
    and count(distinct k) filter (k > 0) = 1
    and avg(n) filter (k > 0) > avg(k) filter (k > 0)
),
gathered as (
  select *, true as is_told from told
  union all
  select *, false from seen anti join told using (run_id, persona, marker)
),
final as (
  select
    subject_of(format('{} as {}', checkpoint, persona), run_id) as subject,
    format(
      '{} of {} completions hold the marker, and {}',
      k,
      n,
      case when is_told then 'sampling stopped at a wanted number of them' else 'every question ends with the same number of them: sampling stopped on success' end
    ) as finding,
    format('select question_id, n_trials, n_present, stopped_early from marker_trials where run_id = {} and persona = {}', sql_text(run_id), sql_text(persona)) as evidence
  from gathered
)
select * from final
