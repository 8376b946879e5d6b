-- position_without_variation: a figure read at the last token of the system block, which is the same for every question: n prompts are one input
-- grain: subject
-- source: own; causal attention gives a token the same activation whatever follows it. What was read here is refused by the view itself
-- severity: warning
-- page: features
-- columns:
--   subject: the two conditions and the layer
with projections as (
  select run_id, layer, condition_a, condition_b, count(*) as n_features
  from feature_projections
  where stratum in ('last_system', 'bos') and refused is not true
  group by run_id, layer, condition_a, condition_b
),
final as (
  select
    subject_of(concat_ws(', ', format('{} against {}', condition_a, condition_b), 'layer ' || layer), run_id) as subject,
    format('{} projections are read at a position before the question: whatever the number of prompts, n is 1 and nothing can be tested', n_features) as finding,
    format('select stratum, feature, projection from feature_projections where run_id = {} order by feature', sql_text(run_id)) as evidence
  from projections
)
select * from final
