-- attribution_incomplete: direct contributions that do not add up to the logit they take apart
-- grain: subject
-- source: own; they are exact up to rounding where the final norm's scale is frozen
-- severity: error
-- page: circuits
-- columns:
--   subject: run
with errors as (
  select run_id, any_value(subject) as reader, max(logit_error) as error, count(*) filter (logit_error > 0.01) as n_wrong, count(logit_error) as n
  from predictions
  group by run_id
),
final as (
  select
    subject_of(reader, run_id) as subject,
    format('the parts miss the logit by up to {:.3g} at {} of {} places', error, n_wrong, n) as finding,
    format('select example_id, target_logit, logit_error from predictions where run_id = {} order by logit_error desc', sql_text(run_id)) as evidence
  from errors
  where n_wrong > 0
)
select * from final
