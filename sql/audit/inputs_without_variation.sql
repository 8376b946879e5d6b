-- inputs_without_variation: readings of which at least half are copies of others, so that a test counts one input several times
-- grain: subject
-- source: own
-- severity: warning
-- page: marker_attention
-- columns:
--   subject: checkpoint plus whose tokens it read, and the control
with layers as (
  select run_id, subject, control, layer, count(delta) as n, count(distinct delta) as n_distinct from attention_delta group by run_id, subject, control, layer
),
counted as (
  select run_id, subject, control, max(n) as n, min(n_distinct) as n_distinct
  from layers
  group by run_id, subject, control
),
final as (
  select
    subject_of(concat_ws(', ', subject, control), run_id) as subject,
    format('{} readings per layer are {} distinct ones in the layer with the fewest: n counts copies', n, n_distinct) as finding,
    format(
      'select layer, n, n_distinct, mean_delta, sem, t from attention_effects where run_id = {} and control = {} order by layer',
      sql_text(run_id),
      sql_text(control)
    ) as evidence
  from counted
  where n > 1 and 2 * n_distinct <= n
)
select * from final
