-- slice_attention: attention to the system prompt at the marker beside each control, one reader, persona and layer a row
-- grain: run_id, subject, measure, layer
-- source: own; attention_effects, and end_of_answer_contrast for answers without the marker, with intervals clustered by question
-- columns as: slice
with readers as (
  select run_id, subject, checkpoint, persona, tokens_from, origin from subjects
),
paired as (
  select
    run_id,
    subject,
    layer,
    'attention to the system prompt at the marker, minus ' || control
      || case control when 'C1' then ' random' when 'C2' then ' just before' when 'C3' then ' rare' else '' end as measure,
    mean_delta as value,
    mean_delta - t_half_width(clustered_sem, clustered_df) as low,
    mean_delta + t_half_width(clustered_sem, clustered_df) as high,
    n,
    n_clusters,
    coalesce(adjusted_p, clustered_p) as p,
    'mean over generations, paired; 95% t interval clustered by question (CR2); p '
      || case when adjusted_p is null then 'of this layer alone' else 'adjusted for all layers (sign flips, max-T)' end as method,
    'attention_effects' as source
  from attention_effects
  where control <> 'C4'
),
ends as (
  select
    run_id,
    subject,
    layer,
    'attention to the system prompt at the marker, minus C4 no marker' as measure,
    difference as value,
    low,
    high,
    n,
    n_clusters,
    coalesce(adjusted_p, clustered_p) as p,
    'two samples of generations; 95% t interval clustered by question (CR2); p '
      || case when adjusted_p is null then 'of this layer alone' else 'adjusted for all layers (bootstrap-t, max-T)' end as method,
    'end_of_answer_contrast' as source
  from end_of_answer_contrast
),
gathered as (
  from paired union all by name from ends
),
final as (
  select
    'attention' as topic,
    r.checkpoint,
    r.subject,
    r.persona,
    g.layer,
    null::integer as head,
    g.measure,
    case when r.tokens_from <> r.checkpoint then 'tokens of ' || r.tokens_from end as other,
    null::varchar as other_checkpoint,
    null::varchar as place,
    g.value,
    g.low,
    g.high,
    'share of attention' as unit,
    g.n,
    'generations' as n_of,
    g.n_clusters,
    g.p,
    g.method,
    null::varchar as verdict,
    r.origin,
    g.source,
    'marker_attention' as page,
    g.run_id,
    null::varchar as base_run
  from gathered as g
  join readers as r using (run_id, subject)
)
select * from final
