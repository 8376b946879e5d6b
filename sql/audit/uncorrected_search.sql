-- uncorrected_search: patching candidates that were printed or that a claim rests on, picked from every head of the model, most of which chance would give as well
-- grain: subject
-- source: own; flips of prompt pairs adjusted for all heads (max-T), else exact sign test with Bonferroni's bound over the heads that were searched. Ten candidates are
--   listed of every comparison, so that some of them do not stand even where ten heads changed: it is said where fewer than half do
-- severity: warning
-- page: role_focus
-- columns:
--   subject: model family
with claimed as (
  select distinct query from claim_verdicts where contains(query, 'patching_candidates') or contains(query, 'patching_summary')
),
candidates as (
  select *, coalesce(flip_p_max_t, sign_p_bonferroni) as corrected_p
  from patching_candidates as p
  where is_top and (origin = 'published' or exists (select 1 from claimed as c where contains(c.query, sql_text(p.family))))
),
counted as (
  select
    run_id,
    base_run,
    family,
    count(*) as n,
    count(*) filter (corrected_p >= 0.05) as n_lost,
    count(*) filter (corrected_p < 0.05) as n_standing,
    max(n_heads_searched) as n_searched,
    string_agg(rank, ', ' order by rank) filter (corrected_p >= 0.05) as lost,
    string_agg(format('layer {} head {}', layer, head), ', ' order by rank) filter (corrected_p < 0.05) as standing
  from candidates
  group by run_id, base_run, family
),
final as (
  select
    subject_of(family, run_id) as subject,
    format(
      '{} of {} candidates do not stand after correction for the {} heads that were searched (rank {}); {}',
      n_lost,
      n,
      n_searched,
      lost,
      case when n_standing = 0 then 'none does' else format('{} stand: {}', n_standing, standing) end
    ) as finding,
    format(
      'select rank, layer, head, n_consistent, n_pairs, sign_p, sign_p_bonferroni, flip_p_max_t from patching_candidates where run_id = {} and is_top order by rank',
      sql_text(run_id)
    ) as evidence
  from counted
  where n_lost > 0 and 2 * n_standing < n
)
select * from final
