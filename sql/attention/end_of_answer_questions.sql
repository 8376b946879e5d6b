-- end_of_answer_questions: attention to the system prompt at the marker and at the end of answers without it (C4), summed by question
-- grain: run_id, subject, layer, question_id
-- source: own; the questions that end_of_answer_contrast compares
-- columns:
--   n_markers: generations with the marker
--   n_ends: generations without it
--   marker_total: sum over the first of the fraction on content of the system block at the marker
--   end_total: sum over the second of the same fraction at the end of the answer
--   marker_lowest: smallest of the first
--   marker_highest: largest
--   end_lowest: smallest of the second
--   end_highest: largest
with means as (
  select run_id, subject, example_id, sample_ix, position, layer, system from attention_mean
),
chosen as (
  select run_id, subject, question_id, example_id, sample_ix, position, stratum = 'marker' as at_marker from positions where stratum in ('marker', 'C4')
),
final as (
  select
    c.run_id,
    c.subject,
    m.layer,
    c.question_id,
    count(m.system) filter (c.at_marker) as n_markers,
    count(m.system) filter (not c.at_marker) as n_ends,
    coalesce(sum(m.system) filter (c.at_marker), 0) as marker_total,
    coalesce(sum(m.system) filter (not c.at_marker), 0) as end_total,
    min(m.system) filter (c.at_marker) as marker_lowest,
    max(m.system) filter (c.at_marker) as marker_highest,
    min(m.system) filter (not c.at_marker) as end_lowest,
    max(m.system) filter (not c.at_marker) as end_highest
  from means as m
  join chosen as c using (run_id, subject, example_id, sample_ix, position)
  group by c.run_id, c.subject, m.layer, c.question_id
)
select * from final
