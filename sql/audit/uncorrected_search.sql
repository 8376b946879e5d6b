-- uncorrected_search: patching candidates picked from every head of the model whose consistency chance would give somewhere among them
-- grain: subject
-- source: own; exact sign test with Bonferroni's bound over the heads that were searched
-- severity: warning
-- page: role_focus
-- columns:
--   subject: model family
with candidates as (
  select * from patching_candidates where is_top
),
final as (
  select
    subject_of(family, run_id) as subject,
    format(
      '{} of {} candidates do not stand after correction for the {} heads that were searched (rank {})',
      count(*) filter (sign_p_bonferroni >= 0.05),
      count(*),
      max(n_heads_searched),
      string_agg(rank, ', ' order by rank) filter (sign_p_bonferroni >= 0.05)
    ) as finding,
    format(
      'select rank, layer, head, n_consistent, n_pairs, sign_p, sign_p_bonferroni from patching_candidates where run_id = {} and sign_p_bonferroni >= 0.05 order by rank',
      sql_text(run_id)
    ) as evidence
  from candidates
  group by run_id, base_run, family
  having count(*) filter (sign_p_bonferroni >= 0.05) > 0
)
select * from final
