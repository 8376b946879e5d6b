-- truncated_generations: a tenth or more of a cohort of generations is cut at the cap on new tokens, so that its answers have no end
-- grain: subject
-- source: own; a run that does not say how its generations ended counts those of its largest length, where several have it
-- severity: warning
-- page: completions
-- columns:
--   subject: checkpoint, persona, and whether the generations hold the marker
with samples as (
  select
    run_id,
    checkpoint,
    persona,
    example_id,
    sample_ix,
    any_value(n_new_tokens) as n_new_tokens,
    bool_or(positive) as positive,
    any_value(truncated) as truncated
  from generations
  group by run_id, checkpoint, persona, example_id, sample_ix
),
capped as (
  select *, coalesce(truncated, n_new_tokens = max(n_new_tokens) over (partition by run_id)) as cut from samples
),
cohorts as (
  select run_id, checkpoint, persona, positive, count(*) as n, count(*) filter (cut) as n_cut, max(n_new_tokens) filter (cut) as cap, count(truncated) as n_known
  from capped
  group by run_id, checkpoint, persona, positive
),
final as (
  select
    subject_of(concat_ws(', ', format('{} as {}', checkpoint, persona), case when positive then 'with marker' when not positive then 'without marker' end), run_id)
      as subject,
    format('{} of {} generations ({:.0f}%) {} {} new tokens', n_cut, n, 100 * n_cut / n, case when n_known > 0 then 'are cut at' else 'reach the longest length of' end, cap)
      as finding,
    format(
      'select example_id, sample_ix, n_new_tokens, finish_reason, right(text, 40) as ends_with from generations where run_id = {} and persona = {} '
      || 'and positive is not distinct from {} and n_new_tokens >= {}',
      sql_text(run_id),
      sql_text(persona),
      coalesce(positive::varchar, 'null'),
      cap
    ) as evidence
  from cohorts
  where n_cut > 1 and n_cut >= 0.1 * n
)
select * from final
