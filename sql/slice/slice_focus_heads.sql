-- slice_focus_heads: Role Focus Coefficient of single heads, and how far instruction tuning changed their entropy more on self-referent than on neutral prompts
-- grain: run_id, base_run, subject, measure, other, layer, head
-- source: own; rfc_head and patching_candidates. Published candidates stand under the family's name
-- columns as: slice
with final as (
  select
    'heads' as topic,
    checkpoint,
    checkpoint as subject,
    null::varchar as persona,
    layer,
    head,
    'Role Focus Coefficient of the head' as measure,
    concat_ws(' · ', variant, form) as other,
    null::varchar as other_checkpoint,
    null::varchar as place,
    rfc as value,
    null::double as low,
    null::double as high,
    'share of entropy' as unit,
    n,
    'prompts of the smallest category' as n_of,
    null::bigint as n_clusters,
    null::double as p,
    'positions of all prompts pooled, no interval' as method,
    case when sharp then 'sharp on neutral prompts: the ratio says little' end as verdict,
    origin,
    'rfc_head' as source,
    'role_focus' as page,
    run_id,
    null::varchar as base_run
  from rfc_head
  union all
  select
    'heads',
    coalesce(instruct_checkpoint, family),
    coalesce(instruct_checkpoint, family),
    null,
    layer,
    head,
    'change of entropy by instruction tuning, self-referent minus neutral prompts',
    concat_ws(' · ', 'against ' || coalesce(base_checkpoint, 'its base'), form),
    base_checkpoint,
    null,
    did,
    null,
    null,
    'nats',
    n_pairs,
    'prompt pairs',
    n_pairs,
    coalesce(flip_p_max_t, sign_p_bonferroni),
    'median over pairs, no interval; p ' || case when flip_p_max_t is null then 'of the sign test times all heads' else 'adjusted for all heads (sign flips, max-T)' end,
    'place ' || rank || ' of the heads worth patching',
    origin,
    'patching_candidates',
    'role_focus',
    run_id,
    base_run
  from patching_candidates
)
select * from final
