-- midrun_gate: signal to noise per layer over the first 50 examples, which warns early that there is nothing to see
-- grain: run_id, subject, layer
-- source: issue 224, README of the published files (mid-run gate). Its error: of 28 layers without any effect 4 to 29% pass over 50 examples, half where answers to
--   one question are alike (docs/statistics.md); passing is no evidence
-- columns:
--   origin: extracted or published
--   n: examples looked at
--   snr: absolute mean of marker minus C1 over its standard error, sample standard deviation over sqrt(n)
--   starts_window: this layer and the two after it all reach 2.0
--   n_passing_windows: layers of the subject that start a window
with deltas as (
  select run_id, subject, origin, tokens_run, example_id, sample_ix, row_ix, layer, delta from attention_delta where control = 'C1'
),
generated as (
  select run_id as tokens_run, example_id, sample_ix, row_ix as completion_ix from completions
),
limits as (
  select
    max(value) filter (name = 'midrun_examples') as examples,
    max(value) filter (name = 'midrun_snr') as snr,
    max(value) filter (name = 'midrun_layers') as layers
  from thresholds
),
ranked as (
  select
    d.*,
    row_number() over (
      partition by d.run_id, d.subject, d.layer order by coalesce(d.row_ix, g.completion_ix), d.example_id, d.sample_ix
    ) as example_ix
  from deltas as d
  left join generated as g using (tokens_run, example_id, sample_ix)
),
ratios as (
  select
    r.run_id,
    r.subject,
    r.origin,
    r.layer,
    count(*) as n,
    abs(avg(r.delta)) / nullif(stddev_samp(r.delta) / sqrt(count(*)), 0) as snr
  from ranked as r
  cross join limits as l
  where r.example_ix <= l.examples
  group by r.run_id, r.subject, r.origin, r.layer
),
passing as (
  select r.*, r.snr >= l.snr as passes from ratios as r cross join limits as l
),
starts as (
  select
    p.run_id,
    p.subject,
    p.layer,
    count(*) filter (q.passes) = any_value(l.layers) as starts_window
  from passing as p
  cross join limits as l
  join passing as q on q.run_id = p.run_id and q.subject = p.subject and q.layer between p.layer and p.layer + l.layers - 1
  group by p.run_id, p.subject, p.layer
),
final as (
  select
    p.run_id,
    p.subject,
    p.origin,
    p.layer,
    p.n,
    p.snr,
    s.starts_window,
    count(*) filter (s.starts_window) over (partition by p.run_id, p.subject) as n_passing_windows
  from passing as p
  join starts as s using (run_id, subject, layer)
)
select * from final
