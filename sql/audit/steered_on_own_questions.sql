-- steered_on_own_questions: a model steered on the questions its directions were made on, where they do more than on others
-- grain: subject
-- source: own; cross-validation
-- severity: error
-- page: directions
-- columns:
--   subject: checkpoint that is steered
with seen as (
  select
    run_id,
    any_value(subject) as subject,
    any_value(used_half) as used_half,
    count(distinct direction) as n_directions,
    string_agg(distinct made_half, ' and ' order by made_half) as made_half
  from steering
  where dose != 0 and made_half is not null and (made_half = 'all' or used_half = 'all' or made_half = used_half)
  group by run_id
),
final as (
  select
    subject_of(subject, run_id) as subject,
    format('{} directions made on half {} of the questions steer on half {}', n_directions, made_half, used_half) as finding,
    format('select distinct direction, made_half, used_half from steering where run_id = {} and dose <> 0 order by all', sql_text(run_id)) as evidence
  from seen
)
select * from final
