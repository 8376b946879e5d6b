-- lake_size: what the lake holds, in five numbers; one row
-- grain: n_runs
-- source: own
-- columns:
--   n_runs: runs
--   n_checkpoints: checkpoints that a run read, trained or brought
--   n_personas: personas under which a checkpoint was sampled
--   n_completions: completions
--   n_rows: rows of all tables
select
  (select count(*) from runs) as n_runs,
  (select count(distinct checkpoint) from checkpoints) as n_checkpoints,
  (select count(distinct persona) from coverage where extractor = 'completions' and status = 'present') as n_personas,
  (select coalesce(sum(n_completions), 0)::bigint from completion_structure) as n_completions,
  (select sum(n_rows)::bigint from runs) as n_rows
