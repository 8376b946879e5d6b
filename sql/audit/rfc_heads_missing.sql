-- rfc_heads_missing: a role-focus comparison that read fewer heads than the model has, or skipped layers
-- grain: subject
-- source: own; the published case is 28 heads read of models that have 32, since the number of another family was typed once
-- severity: error
-- page: role_focus
-- columns:
--   subject: model family and variant
with counted as (
  select
    run_id,
    family,
    variant,
    min(n_heads) as n_heads,
    max(n_heads_model) as n_heads_model,
    count(distinct layer) as n_read,
    max(n_layers) as n_layers
  from rfc_layer
  group by run_id, family, variant
),
final as (
  select
    subject_of(concat_ws(' ', family, variant), run_id) as subject,
    concat_ws(
      '; ',
      case
        when n_heads < n_heads_model then
          format('{} of {} heads per layer were read: heads {} to {} are in no figure', n_heads, n_heads_model, n_heads, n_heads_model - 1)
      end,
      case when n_read < n_layers then format('{} of the first {} layers were read', n_read, n_layers) end
    ) as finding,
    format(
      'select layer, n_heads, n_heads_model from rfc_layer where run_id = {} and family = {} and variant = {} order by layer',
      sql_text(run_id),
      sql_text(family),
      sql_text(variant)
    ) as evidence
  from counted
  where n_heads < n_heads_model or n_read < n_layers
)
select * from final
