-- attention_contrasts: attention at the marker beside the mean over one control's positions, for every stored part of a row (mean over heads), per example
-- source: issue 224, README of the published files (controls); C4 as own addition: end-of-answer positions of generations without the marker, same persona and question
-- key: run_id, example_id, sample_ix, control, layer
-- sort: control, layer, example_id, sample_ix
-- rollup of: attention_mean, positions
with means as (
  select * from attention_mean
),
chosen as (
  select * from positions
),
own_positions as (
  select *, 'C1' as control, stratum = 'marker' as at_marker from chosen where stratum in ('marker', 'C1')
  union all
  select *, 'C2' as control, stratum = 'marker' as at_marker from chosen where stratum in ('marker', 'C2')
  union all
  select *, 'C3' as control, stratum = 'marker' as at_marker from chosen where stratum in ('marker', 'C3')
),
own as (
  select
    p.run_id,
    p.subject,
    p.example_id,
    p.sample_ix,
    p.control,
    m.layer,
    any_value(p.checkpoint) as checkpoint,
    any_value(p.persona) as persona,
    any_value(p.question_id) as question_id,
    any_value(p.tokens_run) as tokens_run,
    avg(m.system) filter (p.at_marker) as marker_system,
    avg(m.system) filter (not p.at_marker) as control_system,
    avg(m."user") filter (p.at_marker) as marker_user,
    avg(m."user") filter (not p.at_marker) as control_user,
    avg(m.assistant) filter (p.at_marker) as marker_assistant,
    avg(m.assistant) filter (not p.at_marker) as control_assistant,
    avg(m.system_structural) filter (p.at_marker) as marker_system_structural,
    avg(m.system_structural) filter (not p.at_marker) as control_system_structural,
    avg(m.user_structural) filter (p.at_marker) as marker_user_structural,
    avg(m.user_structural) filter (not p.at_marker) as control_user_structural,
    avg(m.assistant_structural) filter (p.at_marker) as marker_assistant_structural,
    avg(m.assistant_structural) filter (not p.at_marker) as control_assistant_structural,
    avg(m.header) filter (p.at_marker) as marker_header,
    avg(m.header) filter (not p.at_marker) as control_header
  from means as m
  join own_positions as p using (run_id, subject, example_id, sample_ix, position)
  group by p.run_id, p.subject, p.example_id, p.sample_ix, p.control, m.layer
),
ends as (
  select
    p.run_id,
    p.subject,
    p.persona,
    p.question_id,
    m.layer,
    avg(m.system) as control_system,
    avg(m."user") as control_user,
    avg(m.assistant) as control_assistant,
    avg(m.system_structural) as control_system_structural,
    avg(m.user_structural) as control_user_structural,
    avg(m.assistant_structural) as control_assistant_structural,
    avg(m.header) as control_header
  from means as m
  join chosen as p using (run_id, subject, example_id, sample_ix, position)
  where p.stratum = 'C4'
  group by p.run_id, p.subject, p.persona, p.question_id, m.layer
),
against_ends as (
  select
    p.run_id,
    p.subject,
    p.example_id,
    p.sample_ix,
    'C4' as control,
    m.layer,
    p.checkpoint,
    p.persona,
    p.question_id,
    p.tokens_run,
    m.system::double as marker_system,
    e.control_system,
    m."user"::double as marker_user,
    e.control_user,
    m.assistant::double as marker_assistant,
    e.control_assistant,
    m.system_structural::double as marker_system_structural,
    e.control_system_structural,
    m.user_structural::double as marker_user_structural,
    e.control_user_structural,
    m.assistant_structural::double as marker_assistant_structural,
    e.control_assistant_structural,
    m.header::double as marker_header,
    e.control_header
  from means as m
  join chosen as p using (run_id, subject, example_id, sample_ix, position)
  join ends as e on e.run_id = p.run_id and e.subject = p.subject and e.persona = p.persona and e.question_id = p.question_id and e.layer = m.layer
  where p.stratum = 'marker'
),
gathered as (
  select * from own
  union all by name
  select * from against_ends
),
final as (
  select
    run_id,
    subject,
    checkpoint,
    persona,
    question_id,
    tokens_run,
    example_id,
    sample_ix,
    control, -- control stratum: C1, C2, C3, C4
    layer,
    marker_system, -- at the marker, fraction on content tokens of the system block
    control_system, -- mean over the control's positions of the same
    marker_user, -- at the marker, fraction on content tokens of the user turn
    control_user, -- mean over the control's positions of the same
    marker_assistant, -- at the marker, fraction on content tokens of the answer
    control_assistant, -- mean over the control's positions of the same
    marker_system_structural, -- at the marker, fraction on structural tokens of the system block
    control_system_structural, -- mean over the control's positions of the same
    marker_user_structural, -- at the marker, fraction on structural tokens of the user turn
    control_user_structural, -- mean over the control's positions of the same
    marker_assistant_structural, -- at the marker, fraction on structural tokens of the answer
    control_assistant_structural, -- mean over the control's positions of the same
    marker_header, -- at the marker, fraction on the assistant header
    control_header -- mean over the control's positions of the same
  from gathered
)
select * from final
