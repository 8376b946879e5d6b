-- cancelled_treatment: a published rule-out that averages C1's delta minus another control's, in which the marker cancels: it compares two controls
-- grain: subject
-- source: issue 224, README of the published files (rule-outs)
-- severity: error
-- page: marker_attention
-- columns:
--   subject: checkpoint plus whose tokens it read, and the control
with printed as (
  select
    subject,
    regexp_extract(statistic, 'ruleout_(C\d)', 1) as control,
    layer,
    max(value) filter (regexp_matches(statistic, '\.mean$')) as printed_mean,
    max(value) filter (regexp_matches(statistic, '\.passed_per_layer$')) as printed_pass
  from published_values
  where regexp_matches(statistic, 'ruleout_C\d')
  group by subject, regexp_extract(statistic, 'ruleout_(C\d)', 1), layer
),
deltas as (
  select run_id, subject, example_id, sample_ix, row_ix, control, layer, delta from attention_delta where subject in (select subject from printed)
),
against_c1 as (
  select *, max(delta) filter (control = 'C1') over (partition by run_id, subject, example_id, sample_ix, row_ix, layer) as delta_c1
  from deltas
),
layers as (
  select
    run_id,
    subject,
    control,
    layer,
    avg(delta_c1 - delta) as mean_of_controls,
    avg(delta) as mean_of_marker,
    avg(delta) - stddev_samp(delta) / sqrt(count(delta)) > 0 as marker_passes
  from against_c1
  where control <> 'C1'
  group by run_id, subject, control, layer
),
compared as (
  select
    l.run_id,
    l.subject,
    l.control,
    count(*) as n_layers,
    max(abs(p.printed_mean - l.mean_of_controls)) as gap_to_controls,
    max(abs(p.printed_mean - l.mean_of_marker)) as gap_to_marker,
    sum(p.printed_pass)::integer as n_published,
    count(*) filter (l.marker_passes) as n_meant
  from layers as l
  join printed as p using (subject, control, layer)
  group by l.run_id, l.subject, l.control
),
final as (
  select
    subject_of(concat_ws(', ', subject, control), run_id) as subject,
    format(
      'the printed rule-out is {} minus C1 in all {} layers, the marker is not in it ({} layers pass); the marker itself exceeds {} in {} of {} layers',
      control,
      n_layers,
      n_published,
      control,
      n_meant,
      n_layers
    ) as finding,
    format(
      'select layer, published_mean, passed_published, mean_delta, passed from ruleouts where run_id = {} and control = {} order by layer',
      sql_text(run_id),
      sql_text(control)
    ) as evidence
  from compared
  where gap_to_controls < 1e-6 and gap_to_marker > 1e-6
)
select * from final
