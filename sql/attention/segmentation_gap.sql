-- segmentation_gap: how much of the effect on the system prompt sits on structural tokens, and would the conclusion change? Segmentation A against B, marker against C1
-- grain: run_id, subject, layer
-- source: issue 224, README of the published files (segmentation A minus B; sink check); gates B and C under both and the interval of the gap, paired by example, as own addition
-- columns:
--   origin: extracted or published
--   delta_a: mean of marker minus C1 on the whole system block
--   delta_b: the same on its content tokens
--   gap: delta_a minus delta_b
--   n: examples with a delta under both (NULL where published)
--   n_clusters: questions among them
--   gap_sem: standard error of gap, paired by example and with examples of one question going together (CR2)
--   gap_df: its degrees of freedom (Bell and McCaffrey 2002)
--   gap_low: lower end of the 95% interval of gap, this layer alone (NULL where published, or where the questions do not differ)
--   gap_high: upper end
--   gap_p: two-sided, Student t with gap_df degrees of freedom; not adjusted for the number of layers
--   direction_a: share of examples with a delta above 0 under A
--   direction_b: share of examples with a delta above 0 under B
--   gate_a_under_a: direction_a at least 0.70
--   gate_a_under_b: direction_b at least 0.70
--   gate_b_under_a: delta_a plus or minus its standard error (sample standard deviation over sqrt(n); bootstrap as published) leaves out 0
--   gate_b_under_b: the same of delta_b
--   gate_c_under_a: delta_a above the same mean on the user turn and on the answer, both with their structural tokens
--   gate_c_under_b: delta_b above the same mean on content tokens of the user turn and of the answer
--   passes_under_a: the layer passes gates A, B and C under segmentation A
--   passes_under_b: the same under B
--   sign_changes: delta_a and delta_b point in different directions
--   conclusion_changes: passes_under_a and passes_under_b differ
with deltas as (
  select * from attention_region_delta where control = 'C1'
),
gaps as (
  select
    run_id,
    subject,
    layer,
    question_id,
    max(delta) filter (segmentation = 'A') - max(delta) filter (segmentation = 'B') as gap
  from deltas
  where region = 'system'
  group by run_id, subject, layer, question_id, example_id, sample_ix
),
gap_questions as (
  select run_id, subject, layer, question_id, count(gap) as n, sum(gap) as total
  from gaps
  group by run_id, subject, layer, question_id
  having count(gap) > 0
),
gap_centred as (
  select *, sum(total) over layers / sum(n) over layers as mean, n / sum(n) over layers as share
  from gap_questions
  window layers as (partition by run_id, subject, layer)
),
gap_sums as (
  select
    run_id,
    subject,
    layer,
    sum(n)::bigint as n,
    n_known_clusters(question_id) as n_clusters,
    any_value(mean) as mean,
    cr2_squares(n, total, mean, share) as squares,
    cr2_df(share) as df
  from gap_centred
  group by run_id, subject, layer
),
gap_errors as (
  select
    run_id,
    subject,
    layer,
    n,
    n_clusters,
    cr2_sem(n, n_clusters, squares) as gap_sem,
    case when n_clusters > 1 then df end as gap_df,
    t_half_width(gap_sem, gap_df) as half_width,
    student_t_p(mean / nullif(gap_sem, 0), gap_df) as gap_p
  from gap_sums
),
directions as (
  select
    subject,
    layer,
    case when ends_with(statistic, '_seg_A_per_layer') then 'A' else 'B' end as segmentation,
    value as direction
  from published_values
  where statistic in ('segmentation_a_vs_b_comparison.direction_seg_A_per_layer', 'segmentation_a_vs_b_comparison.direction_seg_B_per_layer')
),
limits as (
  select max(value) filter (name = 'gate_direction') as direction from thresholds
),
extracted as (
  select
    run_id,
    subject,
    'extracted' as origin,
    layer,
    segmentation,
    avg(delta) filter (region = 'system') as delta,
    stddev_samp(delta) filter (region = 'system') / sqrt(count(*) filter (region = 'system')) as sem,
    avg((delta > 0)::integer) filter (region = 'system') as direction,
    greatest(avg(delta) filter (region = 'user'), avg(delta) filter (region = 'assistant')) as largest_other
  from deltas
  group by run_id, subject, layer, segmentation
),
published as (
  select
    any_value(s.run_id) as run_id,
    s.subject,
    'published' as origin,
    s.layer,
    s.segmentation,
    max(s.mean_delta) filter (s.region = 'system') as delta,
    max(s.sem_delta) filter (s.region = 'system') as sem,
    any_value(d.direction) as direction,
    greatest(max(s.mean_delta) filter (s.region = 'user'), max(s.mean_delta) filter (s.region = 'assistant')) as largest_other
  from published_regions as s
  left join directions as d using (subject, layer, segmentation)
  group by s.subject, s.layer, s.segmentation
),
judged as (
  select
    g.*,
    g.direction >= l.direction as gate_a,
    abs(g.delta) - g.sem > 0 as gate_b,
    g.delta > g.largest_other as gate_c
  from (from extracted union all from published) as g
  cross join limits as l
),
sides as (
  select
    run_id,
    subject,
    origin,
    layer,
    max(delta) filter (segmentation = 'A') as delta_a,
    max(delta) filter (segmentation = 'B') as delta_b,
    max(direction) filter (segmentation = 'A') as direction_a,
    max(direction) filter (segmentation = 'B') as direction_b,
    bool_and(gate_a) filter (segmentation = 'A') as gate_a_under_a,
    bool_and(gate_a) filter (segmentation = 'B') as gate_a_under_b,
    bool_and(gate_b) filter (segmentation = 'A') as gate_b_under_a,
    bool_and(gate_b) filter (segmentation = 'B') as gate_b_under_b,
    bool_and(gate_c) filter (segmentation = 'A') as gate_c_under_a,
    bool_and(gate_c) filter (segmentation = 'B') as gate_c_under_b
  from judged
  group by run_id, subject, origin, layer
),
final as (
  select
    s.run_id,
    s.subject,
    s.origin,
    s.layer,
    delta_a,
    delta_b,
    delta_a - delta_b as gap,
    g.n,
    g.n_clusters,
    g.gap_sem,
    g.gap_df,
    gap - g.half_width as gap_low,
    gap + g.half_width as gap_high,
    g.gap_p,
    direction_a,
    direction_b,
    gate_a_under_a,
    gate_a_under_b,
    gate_b_under_a,
    gate_b_under_b,
    gate_c_under_a,
    gate_c_under_b,
    gate_a_under_a and gate_b_under_a and gate_c_under_a as passes_under_a,
    gate_a_under_b and gate_b_under_b and gate_c_under_b as passes_under_b,
    sign(delta_a) <> sign(delta_b) as sign_changes,
    passes_under_a <> passes_under_b as conclusion_changes
  from sides as s
  left join gap_errors as g on s.origin = 'extracted' and g.run_id = s.run_id and g.subject = s.subject and g.layer = s.layer
)
select * from final
