-- published_marker_rates: published marker rates per persona with the counts behind them, where the file gives or implies any
-- grain: run_id, persona
-- source: as published; where a sweep file gives rates only, n is the study's design if every rate of the file is a whole number of completions under it
-- columns:
--   n: completions sampled (NULL where neither file nor design tells)
--   k: completions that hold the marker; rate times n, rounded, where the file gives rates only
--   rate: share of completions, as published
--   n_from: counted (totals in the file), stated (questions times repeats in the file) or design (the sweep's questions times repeats)
--   n_questions: questions
--   cluster_squares: sum over questions of the squared sum of residuals over 1 - their share of the completions (NULL where the file has no rates per question)
--   cluster_sizes: sum over questions of the squared number of completions
--   df: degrees of freedom of a t over questions (Bell and McCaffrey)
--   n_informative: questions that hold the rarer of marker and none
--   n_clusters: questions with rates of their own
with rates as (
  select * from published_rates where measure = 'marker' and not repeated
),
results as (
  select run_id, n_questions, n_questions::bigint * n_completions as n_stated from published_results
),
design as (
  select design_questions, design_completions from regime_thresholds
),
fitted as (
  select r.*, d.*, bool_and(abs(r.rate * d.design_completions - round(r.rate * d.design_completions)) < 1e-6) over (partition by r.run_id) as fits
  from rates as r
  cross join design as d
),
questions as (
  select *, sum(found) over cells / nullif(sum(total) over cells, 0) as pooled_rate, total / nullif(sum(total) over cells, 0) as share
  from published_question_rates
  window cells as (partition by run_id, persona)
),
clusters as (
  select
    run_id,
    persona,
    count(*) as n_clusters,
    cr2_squares(total, found, pooled_rate, share) as cluster_squares,
    sum(total ** 2) as cluster_sizes,
    cr2_df(share) as df,
    n_informative(found, total) as n_informative
  from questions
  group by run_id, persona
),
sized as (
  select
    r.*,
    case when r.total is not null then 'counted' when s.n_stated is not null then 'stated' when r.fits then 'design' end as n_from,
    coalesce(r.total, s.n_stated, case n_from when 'design' then r.design_completions end)::bigint as n,
    coalesce(c.n_clusters, s.n_questions, case n_from when 'design' then r.design_questions end)::bigint as n_questions,
    c.n_clusters,
    c.cluster_squares,
    c.cluster_sizes,
    c.df,
    c.n_informative
  from fitted as r
  left join results as s using (run_id)
  left join clusters as c using (run_id, persona)
),
final as (
  select
    run_id,
    record,
    checkpoint,
    persona,
    marker,
    category,
    related_to,
    n,
    coalesce(found, round(rate * n))::bigint as k,
    rate,
    n_from,
    n_questions,
    n_clusters,
    cluster_squares,
    cluster_sizes,
    df,
    n_informative
  from sized
)
select * from final
