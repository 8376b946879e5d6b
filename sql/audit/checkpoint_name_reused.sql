-- checkpoint_name_reused: one checkpoint name over different weights: rows under that name are no longer of one model
-- grain: subject
-- source: own
-- severity: error
-- page: overview
-- columns:
--   subject: checkpoint name
with made as (
  select run_id, kind from runs
),
-- a folder or file is known by the hash of its content, whatever path was typed; a commit of the Hub may hold several models.
-- Weights that were rounded as they were loaded are others; an engine that rounds them for sampling alone is told with every figure
named as (
  select
    c.checkpoint,
    c.run_id,
    (
      case when regexp_full_match(c.revision, '[0-9a-f]{40}') then c.id end,
      c.revision,
      case when c.quantisation not like '% by vllm%' then c.quantisation end
    ) as weights,
    format('{} at {}', c.id, left(c.revision, 12)) || coalesce(' in ' || split_part(c.quantisation, ' (', 1), '') as said
  from checkpoints as c
  join made as m using (run_id)
  where m.kind <> 'ingest' and c.revision is not null
),
final as (
  select
    checkpoint as subject,
    format(
      'stands for {} sets of weights: {}',
      count(distinct weights),
      string_agg(distinct said, ', ' order by said)
    ) as finding,
    format('select run_id, id, revision, quantisation, parent, lr, epochs, seed from checkpoints where checkpoint = {} order by revision', sql_text(checkpoint)) as evidence
  from named
  group by checkpoint
  having count(distinct weights) > 1
)
select * from final
