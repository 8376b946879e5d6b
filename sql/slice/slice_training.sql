-- slice_training: what training did to attention at the marker in one layer: trained minus the checkpoint that was force-fed the same tokens
-- grain: run_id, base_run, layer
-- source: own; diff_of_diffs
-- columns as: slice
with readers as (
  select run_id, subject, checkpoint, persona from subjects
),
final as (
  select
    'attention' as topic,
    t.checkpoint,
    t.subject,
    t.persona,
    d.layer,
    null::integer as head,
    'attention at the marker minus C1 random, trained minus untrained' as measure,
    'against ' || b.checkpoint || ' on the same tokens' as other,
    b.checkpoint as other_checkpoint,
    null::varchar as place,
    d.diff_of_diffs as value,
    d.clustered_low as low,
    d.clustered_high as high,
    'share of attention' as unit,
    d.n,
    'generations' as n_of,
    d.n_clusters,
    coalesce(d.adjusted_p, d.clustered_p) as p,
    'mean of paired differences; 95% t interval clustered by question (CR2); p '
      || case when d.adjusted_p is null then 'of this layer alone' else 'adjusted for all layers (sign flips, max-T)' end as method,
    case d.movement when 'equivalent' then format('equivalent within ±{:g}', d.margin) else d.movement end as verdict,
    d.origin,
    'diff_of_diffs' as source,
    'marker_attention' as page,
    d.trained_run as run_id,
    d.base_run
  from diff_of_diffs as d
  join readers as t on t.run_id = d.trained_run and t.subject = d.trained_subject
  join readers as b on b.run_id = d.base_run and b.subject = d.base_subject
)
select * from final
