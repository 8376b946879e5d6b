-- single_seed: checkpoints trained for one persona, all with one seed: nothing tells what another run of the same training gives
-- grain: subject
-- source: own
-- severity: note
-- page: regimes
-- columns:
--   subject: persona that was trained for, and the origin
with made as (
  select run_id, origin_of(kind, extractor) as origin from runs
),
trained as (
  select distinct m.origin, c.parent, c.source_persona, c.checkpoint, c.lr, c.epochs, c.seed
  from checkpoints as c
  join made as m using (run_id)
  where c.source_persona is not null and c.seed is not null and c.step is null
),
counted as (
  select origin, parent, source_persona, count(distinct checkpoint) as n, min(seed) as seed
  from trained
  group by origin, parent, source_persona
  having count(distinct seed) = 1
),
final as (
  select
    subject_of(concat_ws(', ', source_persona, origin), coalesce(parent, 'parent unknown')) as subject,
    case
      when n = 1 then format('the one checkpoint trained for {} has seed {}: no figure has a spread over seeds', source_persona, seed)
      else format('all {} checkpoints trained for {} have seed {}: no figure has a spread over seeds', n, source_persona, seed)
    end as finding,
    format('select distinct checkpoint, lr, epochs, seed from checkpoints where source_persona = {} order by lr, epochs', sql_text(source_persona)) as evidence
  from counted
)
select * from final
