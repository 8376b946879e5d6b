-- slice_heads: what is known of single heads at the marker: attention to the system prompt, and what training changed on questions that did not pick the head
-- grain: run_id, base_run, subject, measure, layer, head
-- source: own; head_deltas and head_selection
-- columns as: slice
with readers as (
  select run_id, subject, checkpoint, persona, tokens_from, origin from subjects
),
gathered as (
  select
    run_id,
    subject,
    null::varchar as base_run,
    layer,
    head,
    'attention of the head to the system prompt at the marker, minus C1 random' as measure,
    mean_delta as value,
    null::double as low,
    null::double as high,
    n,
    null::bigint as n_clusters,
    null::varchar as verdict,
    'mean over generations, no interval of a single head' as method,
    'head_deltas' as source
  from head_deltas
  where control = 'C1' and segmentation = 'B' and region = 'system'
  union all by name
  select
    trained_run as run_id,
    trained_subject as subject,
    base_run,
    layer,
    head,
    'attention of the head at the marker, trained minus untrained' as measure,
    evaluation_effect as value,
    evaluation_low as low,
    evaluation_high as high,
    n_evaluation as n,
    n_clusters_evaluation as n_clusters,
    'place ' || rank || ' of all heads on the other half' as verdict,
    'the half of the questions that did not rank the heads; 95% t interval clustered by question (CR2)' as method,
    'head_selection' as source
  from head_selection
),
final as (
  select
    'heads' as topic,
    r.checkpoint,
    r.subject,
    r.persona,
    g.layer,
    g.head,
    g.measure,
    coalesce('against ' || b.checkpoint || ' on the same tokens', case when r.tokens_from <> r.checkpoint then 'tokens of ' || r.tokens_from end) as other,
    b.checkpoint as other_checkpoint,
    null::varchar as place,
    g.value,
    g.low,
    g.high,
    'share of attention' as unit,
    g.n,
    'generations' as n_of,
    g.n_clusters,
    null::double as p,
    g.method,
    g.verdict,
    r.origin,
    g.source,
    'marker_attention' as page,
    g.run_id,
    g.base_run
  from gathered as g
  join readers as r using (run_id, subject)
  left join (select distinct run_id, checkpoint from readers) as b on b.run_id = g.base_run
)
select * from final
