-- source_persona_unasked: a persona that a checkpoint was trained for and that no prompt bears under that name: its own rate is missing, or counts as a leak
-- grain: subject
-- source: own
-- severity: error
-- page: regimes
-- columns:
--   subject: checkpoint and the persona it was trained for
with trained as (
  select checkpoint, any_value(source_persona) as source_persona from checkpoints where source_persona is not null group by checkpoint
),
asked as (
  select distinct checkpoint, persona from marker_rates where persona is not null
  union
  select distinct checkpoint, persona from completions where persona is not null
),
judged as (
  select
    t.checkpoint,
    t.source_persona,
    count(*) as n,
    string_agg(a.persona, ', ' order by a.persona)
      filter (folded(a.persona) = folded(t.source_persona) or levenshtein(folded(a.persona), folded(t.source_persona)) <= 2) as alike,
    string_agg(a.persona, ', ' order by a.persona) as personas
  from trained as t
  join asked as a using (checkpoint)
  group by t.checkpoint, t.source_persona
  having not bool_or(a.persona = t.source_persona)
),
final as (
  select
    format('{}, {}', checkpoint, source_persona) as subject,
    format(
      'none of the {} personas that were asked is spelt like that{}', n, case when alike is null then format(' (asked: {})', left(personas, 120)) else format('; {} is near it', alike) end
    ) as finding,
    format('select distinct persona from completions where checkpoint = {} union select distinct persona from marker_rates where checkpoint = {}', sql_text(checkpoint), sql_text(checkpoint))
      as evidence
  from judged
)
select * from final
