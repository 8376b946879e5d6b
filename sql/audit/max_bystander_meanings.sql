-- max_bystander_meanings: files whose max_bystander means different things: with the assistant in some, without it in others, or neither
-- grain: subject
-- source: README of the published sweep
-- severity: error
-- page: regimes
-- columns:
--   subject: name of the field, or of it in one checkpoint's record
with recomputed as (
  select * from leakage_summary
),
counted as (
  select
    count(*) filter (max_bystander_meaning = 'bystanders') as n_bystanders,
    count(*) filter (max_bystander_meaning = 'others') as n_others
  from recomputed
),
final as (
  select
    'max_bystander' as subject,
    format('{} records leave the assistant out of max_bystander and {} count it in: the same name has two meanings', n_bystanders, n_others) as finding,
    'select checkpoint, record, max_bystander_published, max_bystander_rate, max_other_rate, max_bystander_meaning from leakage_summary '
    || format('where max_bystander_meaning in ({}, {}) order by max_bystander_meaning', sql_text('bystanders'), sql_text('others')) as evidence
  from counted
  where n_bystanders > 0 and n_others > 0
  union all
  select
    subject_of(format('max_bystander of {}', checkpoint), run_id),
    format(
      'printed {}, but the largest rate of a bystander is {} and with the assistant {}',
      figure(max_bystander_published),
      figure(max_bystander_rate),
      figure(max_other_rate)
    ),
    format('select persona, rate, k, n from marker_rates where run_id = {} order by rate desc', sql_text(run_id))
  from recomputed
  where max_bystander_meaning = 'neither'
)
select * from final
