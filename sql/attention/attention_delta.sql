-- attention_delta: attention to the system prompt at the marker minus at a control, per example and layer (segmentation B, mean over heads)
-- grain: run_id, example_id, sample_ix, row_ix, control, layer
-- source: issue 224, README of the published files (delta_ck); extracted rows from attention_contrasts, published rows from published_deltas
-- columns:
--   row_ix: row of the published deltas file (NULL for an extracted row)
--   control: control stratum: C1, C2, C3, C4
--   delta: marker_value minus control_value
--   marker_value: fraction on content tokens of the system block at the marker (NULL in published rows, which hold the difference only)
--   control_value: mean of the same fraction over the control's positions
--   delta_user: the same difference for content tokens of the user turn (NULL in published rows)
--   delta_assistant: the same difference for content tokens of the answer (NULL in published rows)
--   origin: extracted or published
with extracted as (
  select
    run_id,
    subject,
    checkpoint,
    persona,
    question_id,
    tokens_run,
    example_id,
    sample_ix,
    null::integer as row_ix,
    control,
    layer,
    marker_system - control_system as delta,
    marker_system as marker_value,
    control_system as control_value,
    marker_user - control_user as delta_user,
    marker_assistant - control_assistant as delta_assistant,
    'extracted' as origin
  from attention_contrasts
  where marker_system - control_system is not null
),
published as (
  select
    d.run_id,
    d.subject,
    d.checkpoint,
    d.tokens_from as persona,
    g.question_id,
    g.tokens_run,
    g.example_id,
    g.sample_ix,
    d.row_ix,
    d.control,
    d.layer,
    d.delta,
    null::double as marker_value,
    null::double as control_value,
    null::double as delta_user,
    null::double as delta_assistant,
    'published' as origin
  from published_deltas as d
  left join published_rows as g using (run_id, row_ix)
  where d.delta is not null
),
final as (
  select * from extracted
  union all
  select * from published
)
select * from final
