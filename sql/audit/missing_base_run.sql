-- missing_base_run: a trained checkpoint whose attention was read, without the model it was trained from on the same tokens
-- grain: subject
-- source: own
-- severity: warning
-- page: marker_attention
-- columns:
--   subject: trained checkpoint and persona
with cells as (
  select * from coverage where extractor = 'attention'
),
own as (
  select origin, checkpoint as tokens_from, persona from cells where checkpoint = tokens_from and status = 'present'
),
gaps as (
  select c.* from cells as c join own as o using (origin, tokens_from, persona) where c.status = 'missing' and c.checkpoint <> c.tokens_from
),
final as (
  select
    subject_of(concat_ws(' as ', tokens_from, persona), origin) as subject,
    format('{} was not force-fed the tokens of {}: what training changed cannot be told from what was there', checkpoint, tokens_from) as finding,
    format(
      'select checkpoint, extractor, tokens_from, status from coverage where persona = {} and tokens_from = {}',
      sql_text(persona),
      sql_text(tokens_from)
    ) as evidence
  from gaps
)
select * from final
