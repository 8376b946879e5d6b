-- gate_without_evidence: layers that pass gate B, whose rule is one standard error, although a test over questions does not reject zero
-- grain: subject
-- source: own; gate B as in issue 224
-- severity: note
-- page: marker_attention
-- columns:
--   subject: checkpoint plus whose tokens it read
with counted as (
  select
    run_id,
    subject,
    count(*) filter (gate_b) as n_passed,
    count(*) filter (gate_b and clustered_p >= 0.05) as n_unsure,
    string_agg(layer, ', ' order by layer) filter (gate_b and clustered_p >= 0.05) as layers
  from attention_gates
  group by run_id, subject
),
final as (
  select
    subject_of(subject, run_id) as subject,
    format('{} of the {} layers that pass gate B have a p of 0.05 or more when questions are the unit: layer {}', n_unsure, n_passed, layers) as finding,
    format(
      'select layer, mean_delta, sem_delta, gate_b, clustered_t, clustered_p from attention_gates where run_id = {} and gate_b and clustered_p >= 0.05 order by layer',
      sql_text(run_id)
    ) as evidence
  from counted
  where n_unsure > 0
)
select * from final
