-- identical_profiles: two families whose changes are the same in every layer, as when one file was copied over the other
-- grain: subject
-- source: own
-- severity: error
-- page: role_focus
-- columns:
--   subject: the two families
with points as (
  select * from rfc_profile_pairs where alignment = 'layer index' and family_a <> family_b
),
counted as (
  select base_run_a, base_run_b, family_a, family_b, count(*) as n, max(abs(rfc_diff_a - rfc_diff_b)) as gap
  from points
  group by base_run_a, base_run_b, family_a, family_b
),
final as (
  select
    subject_of(format('{} and {}', family_a, family_b), concat_ws(' and ', base_run_a, base_run_b)) as subject,
    format('the changes of both families are the same in all {} layers: one of them is not its own', n) as finding,
    format(
      'select point, rfc_diff_a, rfc_diff_b from rfc_profile_pairs where alignment = {} and base_run_a = {} and base_run_b = {} order by point',
      sql_text('layer index'),
      sql_text(base_run_a),
      sql_text(base_run_b)
    ) as evidence
  from counted
  where n > 1 and gap < 1e-9
)
select * from final
