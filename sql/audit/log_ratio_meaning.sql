-- log_ratio_meaning: a patching summary whose mean_log_ratio_median is the mean of did_log_ratio_median, not of the column that bears its name
-- grain: subject
-- source: README of the published files
-- severity: error
-- page: role_focus
-- columns:
--   subject: name of the field and the model family
with printed as (
  select family, mean_log_ratio_median, run_id from published_patching_summaries
),
final as (
  select
    subject_of(format('mean_log_ratio_median of {}', c.family), concat_ws(' and ', c.run_id, p.run_id)) as subject,
    format(
      'printed {}, which is the mean of did_log_ratio_median over {} candidates; that of log_ratio_median is {}',
      figure(p.mean_log_ratio_median),
      c.n,
      figure(c.mean_log_ratio)
    ) as finding,
    format('select layer, head, log_ratio, did_log_ratio from patching_candidates where family = {} order by rank', sql_text(c.family)) as evidence
  from patching_summary as c
  join printed as p using (family)
  where abs(p.mean_log_ratio_median - c.mean_did_log_ratio) < 1e-6 and abs(p.mean_log_ratio_median - c.mean_log_ratio) > 1e-6
)
select * from final
