-- records_disagree: two records of one checkpoint, or two places of one file, that give different values of the same figure
-- grain: subject
-- source: own; both records are kept
-- severity: warning
-- page: regimes
-- columns:
--   subject: checkpoint of either record, and the quantity
with counted as (
  select
    run_id,
    other_run_id,
    coalesce(checkpoint, run_id) as checkpoint,
    coalesce(other_checkpoint, other_run_id) as other_checkpoint,
    quantity,
    count(*) as n,
    count(*) filter (p >= 0.05) as n_by_chance,
    first(struct_pack(persona, field, other_field, value, other_value) order by abs(difference) desc, persona) as worst
  from record_disagreements
  group by all
),
named as (
  select
    *,
    concat_ws(
      ', ',
      case when checkpoint = other_checkpoint then checkpoint else format('{} and {}', checkpoint, other_checkpoint) end,
      case when run_id = other_run_id then format('{} in one file', quantity) else quantity end
    ) as name
  from counted
),
final as (
  select
    subject_of(name, concat_ws(' and ', run_id, other_run_id)) as subject,
    format(
      '{} differ, most {}: {} in {} and {} in {}{}',
      case when n = 1 then 'one value' else format('{} values', n) end,
      case when worst['persona'] = '' then quantity else format('{} of {}', quantity, worst['persona']) end,
      figure(worst['value']),
      worst['field'],
      figure(worst['other_value']),
      worst['other_field'],
      case when n_by_chance > 0 then format('; {} could come from sampling alone (p of 0.05 or more)', n_by_chance) else '' end
    ) as finding,
    format(
      'select persona, field, value, other_field, other_value, p, source_file, other_source_file from record_disagreements '
      || 'where run_id = {} and other_run_id = {} and quantity = {}',
      sql_text(run_id),
      sql_text(other_run_id),
      sql_text(quantity)
    ) as evidence
  from named
)
select * from final
