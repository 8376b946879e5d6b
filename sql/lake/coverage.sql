-- coverage: what is in the lake and what is not: completions, readout of a trained checkpoint's own tokens, and its parent force-fed the same tokens
-- grain: origin, checkpoint, persona, extractor, tokens_from
-- outcomes: status
-- source: own
-- columns:
--   origin: extracted, brought (sampled elsewhere) or published
--   checkpoint: checkpoint that runs: the sampler, the reader, or the parent that should be force-fed (its id where it is not in the lake)
--   extractor: completions or attention
--   tokens_from: checkpoint whose tokens are read (NULL for completions)
--   status: present or missing
--   expected: the study's design asks for it; a row that is not expected is there besides
--   n_runs: committed runs that fill the cell
--   n_seeds: training seeds among the checkpoints of the same parent, source persona, learning rate, epochs and recipe that have completions (NULL where no seed is known)
with sampled as (
  select distinct run_id, checkpoint, persona from completion_structure
),
made as (
  select run_id, kind, extractor from runs
),
trained as (
  select run_id, checkpoint, parent, source_persona, lr, epochs, seed from checkpoints where parent is not null and step is null
),
named as ( -- the name that a parent was read under here
  select checkpoint as child, parent, arg_min(parent_checkpoint, (not is_exact, parent_checkpoint)) as checkpoint
  from lineage
  where parent_checkpoint in (select c.checkpoint from checkpoints as c join runs as r using (run_id) where r.extractor <> 'published')
  group by child, parent
),
readouts as (
  select origin, checkpoint, persona, tokens_from, forced, run_id from subjects
),
samples as (
  select s.run_id, s.checkpoint, s.persona, origin_of(m.kind, m.extractor) as origin
  from sampled as s
  join made as m using (run_id)
),
lineage as (
  select
    s.origin,
    t.checkpoint,
    any_value(case s.origin when 'published' then t.parent else coalesce(n.checkpoint, t.parent) end) as parent,
    any_value(t.source_persona) as source_persona,
    any_value(t.lr) as lr,
    any_value(t.epochs) as epochs,
    any_value(t.seed) as seed
  from trained as t
  join (select distinct run_id, origin from samples) as s using (run_id)
  left join named as n on n.child = t.checkpoint and n.parent = t.parent
  group by s.origin, t.checkpoint
),
seeds as (
  select
    l.origin,
    l.checkpoint,
    nullif(count(distinct l.seed) over (partition by l.origin, l.parent, l.source_persona, l.lr, l.epochs, t.recipe), 0) as n_seeds
  from lineage as l
  left join recipes as t on t.checkpoint = l.checkpoint and l.origin <> 'published'
),
own as (
  select origin, checkpoint, source_persona as persona from lineage where source_persona is not null
  union
  select origin, tokens_from, persona from readouts
),
expected as (
  select origin, checkpoint, persona, 'completions' as extractor, null::varchar as tokens_from from own
  union
  select origin, checkpoint, persona, 'attention', checkpoint from own
  union
  select o.origin, coalesce(l.parent, case o.origin when 'published' then 'base' end), o.persona, 'attention', o.checkpoint
  from own as o
  left join lineage as l using (origin, checkpoint)
  where coalesce(l.parent, case o.origin when 'published' then 'base' end) is not null
),
present as (
  select origin, checkpoint, persona, 'completions' as extractor, null::varchar as tokens_from, count(*) as n_runs from samples group by all
  union all
  select origin, checkpoint, persona, 'attention', tokens_from, count(*) from readouts group by all
),
final as (
  select
    coalesce(e.origin, p.origin) as origin,
    coalesce(e.checkpoint, p.checkpoint) as checkpoint,
    coalesce(e.persona, p.persona) as persona,
    coalesce(e.extractor, p.extractor) as extractor,
    coalesce(e.tokens_from, p.tokens_from) as tokens_from,
    case when p.n_runs is null then 'missing' else 'present' end as status,
    e.origin is not null as expected,
    coalesce(p.n_runs, 0) as n_runs,
    s.n_seeds
  from expected as e
  full join present as p
    on p.origin = e.origin
    and p.checkpoint = e.checkpoint
    and p.persona = e.persona
    and p.extractor = e.extractor
    and p.tokens_from is not distinct from e.tokens_from
  left join seeds as s on s.origin = coalesce(e.origin, p.origin) and s.checkpoint = coalesce(e.tokens_from, p.tokens_from, e.checkpoint, p.checkpoint)
)
select * from final
