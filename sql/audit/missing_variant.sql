-- missing_variant: a model family with a base or an instruct model only, so that there is nothing to compare it with
-- grain: subject
-- source: own
-- severity: warning
-- page: role_focus
-- columns:
--   subject: model family
with variants as (
  select origin, family, min(variant) as variant, count(distinct variant) as n from rfc_layer group by origin, family
),
final as (
  select
    subject_of(family, origin) as subject,
    format('only the {} model is in the lake: no difference between instruct and base can be made', variant) as finding,
    format('select variant, count(*) as n_layers from rfc_layer where family = {} group by variant', sql_text(family)) as evidence
  from variants
  where n = 1
)
select * from final
