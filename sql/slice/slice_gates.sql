-- slice_gates: the gates of the marker study at one layer: how many generations point upwards, and which gates the layer passes
-- grain: run_id, subject, layer
-- source: own; attention_gates, whose rules are those of issue 224
-- columns as: slice
with readers as (
  select run_id, subject, checkpoint, persona, tokens_from, origin from subjects
),
final as (
  select
    'attention' as topic,
    r.checkpoint,
    r.subject,
    r.persona,
    g.layer,
    null::integer as head,
    'generations with more attention to the system prompt at the marker than at C1 random' as measure,
    case when r.tokens_from <> r.checkpoint then 'tokens of ' || r.tokens_from end as other,
    null::varchar as other_checkpoint,
    null::varchar as place,
    g.direction as value,
    null::double as low,
    null::double as high,
    'share' as unit,
    g.n,
    'generations' as n_of,
    g.n_clusters,
    g.sign_test_p as p,
    'share above 0; exact sign test over generations; gates as published' as method,
    case
      when g.gate_d then 'passes gates A to D'
      when not (g.gate_a or g.gate_b or g.gate_c) then 'passes no gate'
      else 'passes gate ' || concat_ws(', ', case when g.gate_a then 'A' end, case when g.gate_b then 'B' end, case when g.gate_c then 'C' end)
    end as verdict,
    r.origin,
    'attention_gates' as source,
    'marker_attention' as page,
    g.run_id,
    null::varchar as base_run
  from attention_gates as g
  join readers as r using (run_id, subject)
)
select * from final
