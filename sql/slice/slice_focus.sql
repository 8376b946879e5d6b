-- slice_focus: does attention sharpen on prompts that speak of the model itself? Role Focus Coefficient of a layer, and instruct against base
-- grain: run_id, base_run, subject, measure, other, layer
-- source: own; rfc_layer and rfc_diff with the interval over prompts where there is one. Published figures stand under the family's name
-- columns as: slice
with final as (
  select
    'role focus' as topic,
    coalesce(checkpoint, family) as checkpoint,
    concat_ws(' ', coalesce(checkpoint, family), variant) as subject,
    null::varchar as persona,
    layer,
    null::integer as head,
    'Role Focus Coefficient' as measure,
    concat_ws(' · ', variant, form) as other,
    null::varchar as other_checkpoint,
    null::varchar as place,
    rfc as value,
    ci_low as low,
    ci_high as high,
    'share of entropy' as unit,
    n_heads as n,
    'heads' as n_of,
    null::bigint as n_clusters,
    null::double as p,
    '95% t interval over heads, taken as independent' as method,
    null::varchar as verdict,
    origin,
    'rfc_layer' as source,
    'role_focus' as page,
    run_id,
    null::varchar as base_run
  from rfc_layer
  union all
  select
    'role focus',
    coalesce(instruct_checkpoint, family),
    concat_ws(' ', coalesce(instruct_checkpoint, family), 'instruct'),
    null,
    layer,
    null,
    'Role Focus Coefficient, instruct minus base',
    concat_ws(' · ', 'against ' || coalesce(base_checkpoint, 'its base'), form),
    base_checkpoint,
    null,
    rfc_diff,
    coalesce(resampled_low, ci_low),
    coalesce(resampled_high, ci_high),
    'share of entropy',
    case when resampled_low is null then n_heads else n_prompts end,
    case when resampled_low is null then 'heads' else 'prompts of the smallest category' end,
    null,
    welch_p_fdr,
    case when resampled_low is null then '95% t interval over heads, taken as independent' else '95% interval, prompts drawn again' end
      || '; p: Welch''s over heads, FDR over layers',
    case movement when 'equivalent' then format('equivalent within ±{:g}', margin) else movement end,
    origin,
    'rfc_diff',
    'role_focus',
    instruct_run,
    base_run
  from rfc_diff
)
select * from final
