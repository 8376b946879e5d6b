-- published_rows: which generation a row of a published deltas file is, where the positives file of the same persona is in the lake
-- grain: run_id, row_ix
-- source: README of the published files: row i is row i of the positives; positives with fewer than five C1 candidates have no row
-- columns:
--   row_ix: index of the row in the deltas file
--   tokens_run: run of the positives file; no row of this view where none with as many usable positives is in the lake
with deltas as (
  select run_id, any_value(tokens_from) as persona, count(distinct row_ix) as n_rows from published_deltas group by run_id
),
ingested as (
  select run_id, finished from runs where kind = 'ingest'
),
flags as (
  select run_id, example_id, sample_ix from marker_flags where t_marker is not null
),
controlled as (
  select run_id, example_id, sample_ix from positions where stratum = 'C1' group by run_id, example_id, sample_ix
),
positives as (
  select
    c.run_id as tokens_run,
    i.finished,
    c.persona,
    c.question_id,
    c.example_id,
    c.sample_ix,
    c.row_ix as completion_ix,
    k.run_id is not null as has_controls,
    bool_or(has_controls) over (partition by c.run_id) as any_controls
  from completions as c
  join ingested as i on i.run_id = c.run_id
  join flags as f on f.run_id = c.run_id and f.example_id = c.example_id and f.sample_ix = c.sample_ix
  left join controlled as k on k.run_id = c.run_id and k.example_id = c.example_id and k.sample_ix = c.sample_ix
),
numbered as (
  select
    *,
    (row_number() over (partition by tokens_run order by completion_ix) - 1)::integer as row_ix,
    count(*) over (partition by tokens_run) as n_rows
  from positives
  where has_controls or not any_controls
),
final as (
  select d.run_id, n.row_ix, n.tokens_run, n.question_id, n.example_id, n.sample_ix
  from deltas as d
  join numbered as n on n.persona = d.persona and n.n_rows = d.n_rows
  qualify dense_rank() over (partition by d.run_id order by n.finished desc, n.tokens_run) = 1
)
select * from final
