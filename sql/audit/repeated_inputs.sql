-- repeated_inputs: readings of which some are copies of others, since a model wrote the same answer twice
-- grain: subject
-- source: own; from half on it is inputs_without_variation
-- severity: note
-- page: marker_attention
-- columns:
--   subject: checkpoint plus whose tokens it read
with layers as (
  select run_id, subject, control, layer, count(delta) as n, count(distinct delta) as n_distinct from attention_delta group by run_id, subject, control, layer
),
counted as (
  select run_id, subject, control, max(n) as n, min(n_distinct) as n_distinct
  from layers
  group by run_id, subject, control
),
repeated as (
  select * from counted where n_distinct < n and 2 * n_distinct > n
),
final as (
  select
    subject_of(subject, run_id) as subject,
    format(
      'some readings are copies of others: {}',
      string_agg(format('{} distinct of {} against {}', n_distinct, n, control), ', ' order by control)
    ) as finding,
    format('select control, layer, n, n_distinct from attention_effects where run_id = {} and n_distinct < n order by control, layer', sql_text(run_id)) as evidence
  from repeated
  group by run_id, subject
)
select * from final
