-- mean_of_one_layer: a mean over layers that one layer carries: without it the mean changes its sign or loses nine tenths of its size
-- grain: subject
-- source: own; the published case is a family's mean of +0.0475 that is about zero without its largest layer
-- severity: warning
-- page: role_focus
-- columns:
--   subject: model family
with judged as (
  select
    *,
    case when basis = 'layers' then instruct_run else base_run end as run_id,
    coalesce('layer ' || largest_layer, 'a layer') as layer_words,
    case when abs(max) >= abs(min) then max else min end as largest
  from rfc_summary
  where n_layers > 1 and max_layer_share >= 0.9
),
final as (
  select
    subject_of(family, run_id) as subject,
    format(
      '{} of {} at {} makes up {:.0f}% of the sum over {} layers: the mean of {} is {} without it',
      case basis when 'printed' then 'a printed change' else 'the change' end,
      figure(largest),
      layer_words,
      100 * max_layer_share,
      n_layers,
      figure(mean),
      figure(mean_without_largest_layer)
    ) as finding,
    'select family, basis, n_layers, mean, max, max_layer, min, min_layer, max_layer_share, mean_without_largest_layer from rfc_summary where family = '
    || sql_text(family) as evidence
  from judged
)
select * from final
