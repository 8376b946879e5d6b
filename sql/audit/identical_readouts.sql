-- identical_readouts: a trained checkpoint and the model it is compared with read the same tokens alike in every layer: training was not loaded
-- grain: subject
-- source: own
-- severity: error
-- page: marker_attention
-- columns:
--   subject: trained and base subject
with counted as (
  select trained_run, base_run, trained_subject, base_subject, count(distinct layer) as n, count(difference) as n_pairs, max(abs(difference)) as gap
  from paired_deltas
  group by trained_run, base_run, trained_subject, base_subject
),
final as (
  select
    subject_of(format('{} against {}', trained_subject, base_subject), concat_ws(' and ', trained_run, base_run)) as subject,
    format('all {} pairs of readings over {} layers are the same: both runs read the same weights', n_pairs, n) as finding,
    format(
      'select layer, trained_delta, base_delta, diff_of_diffs from diff_of_diffs where trained_run = {} and base_run = {} order by layer',
      sql_text(trained_run),
      sql_text(base_run)
    ) as evidence
  from counted
  where gap = 0
)
select * from final
