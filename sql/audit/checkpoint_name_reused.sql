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
named as (
  select c.checkpoint, c.id, c.revision, c.run_id
  from checkpoints as c
  join made as m using (run_id)
  where m.kind <> 'ingest' and c.revision is not null
),
final as (
  select
    checkpoint as subject,
    format(
      'stands for {} sets of weights: {}',
      count(distinct (id, revision)),
      string_agg(distinct format('{} at {}', id, left(revision, 12)), ', ' order by format('{} at {}', id, left(revision, 12)))
    ) as finding,
    format('select run_id, id, revision, parent, lr, epochs, seed from checkpoints where checkpoint = {} order by revision', sql_text(checkpoint)) as evidence
  from named
  group by checkpoint
  having count(distinct (id, revision)) > 1
)
select * from final
