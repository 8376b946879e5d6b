-- at_the_ceiling: figures that are compared and all stand at the end of their scale: nothing could be seen to rise, whatever is true
-- grain: subject
-- source: own; accuracy of a checkpoint and its parent, or the source's rate in all cells of a sweep, or under both attention implementations, all at 98% or above, or accuracies all at 2% or below
-- severity: warning
-- page: regimes
-- columns:
--   subject: checkpoint and task, or the source and its sweep
with tasks as (
  select
    checkpoint,
    run_id,
    format('{}, {}', checkpoint, task) as who,
    format('accuracy is {:.0f}% and {:.0f}% in its parent, of {} questions', 100 * accuracy, 100 * parent_accuracy, n) as finding,
    format('select checkpoint, task, n, k, accuracy, parent_accuracy from capability_scores where run_id = {} and task = {}', sql_text(run_id), sql_text(task)) as evidence
  from capability_scores
  where n >= 10 and parent_accuracy is not null and (least(accuracy, parent_accuracy) >= 0.98 or greatest(accuracy, parent_accuracy) <= 0.02)
),
sweeps as (
  select
    any_value(checkpoint),
    min(run_id) as run_id,
    format('{}, sweep from {}', source, coalesce(parent, origin)) as who,
    format('the source has the marker in {:.0f}% or more in all {} cells: they cannot be told apart by it', 100 * min(source_rate), count(*)) as finding,
    format('select checkpoint, lr, epochs, seed, source_rate from regimes where origin = {} and source = {} order by lr, epochs', sql_text(origin), sql_text(source)) as evidence
  from regimes
  where source_rate is not null
  group by origin, parent, source, marker, recipe
  having min(source_rate) >= 0.98 and count(distinct (lr, epochs)) >= 2
),
kernels as (
  select
    p.checkpoint,
    p.run_id,
    format('{} as {}, preflight', p.checkpoint, p.persona) as who,
    format('the marker rate is {:.0f}% or more under both implementations: they cannot be told apart by it', 100 * min(p.rate)) as finding,
    format('select persona, implementation, n, k, rate from preflight where run_id = {} and persona is not distinct from {}', sql_text(p.run_id), sql_text(p.persona)) as evidence
  from preflight as p
  where p.persona is not null and p.checkpoint is not null
  group by p.run_id, p.checkpoint, p.persona
  having min(p.rate) >= 0.98 and count(*) > 1
),
gathered as (
  select * from tasks
  union all
  select * from kernels
  union all
  select * from sweeps
),
final as (
  select subject_of(who, run_id) as subject, finding, evidence from gathered
)
select * from final
