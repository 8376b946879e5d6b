-- flips_disagree: a difference that sign flips call sure and a test without symmetry does not, or the other way round
-- grain: subject
-- source: own; flips test exchangeability within a pair and reject skewed differences of mean 0, bootstrap-t (Hall 1988) tests the mean; both max-T over the family.
--   With fewer than six pairs or questions no flip reaches 0.05, and nothing is compared
-- severity: note
-- page: marker_attention
-- columns:
--   subject: trained and base subject, or model family
with tests as (
  select
    format('{} against {}', trained_subject, base_subject) as name,
    concat_ws(' and ', trained_run, base_run) as runs,
    'layer' as member,
    adjusted_p as flips,
    bootstrap_t_adjusted_p as free,
    format(
      'select layer, n_clusters, diff_of_diffs, adjusted_p, bootstrap_t_adjusted_p from diff_of_diffs where trained_run = {} and base_run = {} '
      || 'and (adjusted_p < 0.05) <> (bootstrap_t_adjusted_p < 0.05)',
      sql_text(trained_run),
      sql_text(base_run)
    ) as evidence
  from diff_of_diffs
  where n_clusters >= 6
  union all
  select
    family,
    concat_ws(' and ', run_id, base_run),
    'head',
    flip_p_max_t,
    bootstrap_t_p_max_t,
    format(
      'select layer, head, n_pairs, did, flip_p_max_t, bootstrap_t_p_max_t from patching_candidates where run_id = {} and base_run = {} '
      || 'and (flip_p_max_t < 0.05) <> (bootstrap_t_p_max_t < 0.05)',
      sql_text(run_id),
      sql_text(base_run)
    )
  from patching_candidates
  where origin = 'extracted' and n_pairs >= 6
),
counted as (
  select
    name,
    runs,
    member,
    evidence,
    count(*) filter (flips < 0.05) as n_flips,
    count(*) filter (free < 0.05) as n_free,
    count(*) filter ((flips < 0.05) <> (free < 0.05)) as n_apart,
    count(*) as n
  from tests
  group by name, runs, member, evidence
),
final as (
  select
    subject_of(name, runs) as subject,
    format(
      'of {} {}s {} have p < 0.05 by sign flips, which ask for symmetric differences, and {} by a bootstrap-t, which does not: {} lie on two sides',
      n,
      member,
      n_flips,
      n_free,
      n_apart
    ) as finding,
    evidence
  from counted
  where n_apart > 0
)
select * from final
