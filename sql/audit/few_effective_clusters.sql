-- few_effective_clusters: an interval or test stands on fewer than ten questions, or on more of which a few supply most rows: it is wide, and one odd question moves it
-- grain: subject
-- source: own; Kish's effective number of questions, (sum of sizes)^2 / sum of squared sizes. CR2 with Bell and McCaffrey's degrees of freedom covers normal question
--   means there, and too little of skewed ones (docs/statistics.md)
-- severity: note
-- page: marker_attention
-- columns:
--   subject: trained and base subject, or checkpoint and what was done
with sizes as (
  select run_id, checkpoint, 'ablations' as made, question_id, count(distinct example_id) as n from ablations group by run_id, checkpoint, question_id
  union all
  select run_id, checkpoint, 'patches', question_id, count(distinct (example_id, sample_ix)) from patches group by run_id, checkpoint, question_id
),
weighed as (
  select *, n / sum(n) over (partition by run_id, made) as share from sizes
),
found as (
  select
    subject_of(format('{} of {}', made, checkpoint), run_id) as subject,
    count(*) as n_clusters,
    effective_clusters(share) as n_effective,
    sum(n)::bigint as n,
    format('select question_id, count(distinct example_id) as n from {} where run_id = {} group by question_id order by n desc', made, sql_text(run_id)) as evidence
  from weighed
  group by run_id, made, checkpoint
  union all
  select
    subject_of(format('{} against {}', trained_subject, base_subject), concat_ws(' and ', trained_run, base_run)),
    n_clusters,
    n_effective_clusters,
    n,
    format(
      'select question_id, count(distinct row(example_id, sample_ix)) as n from paired_deltas where trained_run = {} and base_run = {} group by question_id order by n desc',
      sql_text(trained_run),
      sql_text(base_run)
    )
  from diff_of_diffs_summary
  where clustered_p is not null
),
limits as (
  select max(value) as fewest from thresholds where name = 'effective_clusters'
),
final as (
  select
    subject,
    format('{} rows of {} questions weigh as much as {:.1f} equally large ones: {:.0f} at least are wanted behind an interval', n, n_clusters, n_effective, fewest) as finding,
    evidence
  from found
  cross join limits
  where n_effective < fewest and n_clusters > 1
)
select * from final
