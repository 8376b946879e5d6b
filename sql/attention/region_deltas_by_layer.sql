-- region_deltas_by_layer: layer curve of marker minus control for every region and control, with its standard errors
-- grain: run_id, subject, control, segmentation, region, layer
-- source: issue 224, README of the published files; a published curve is computed from per-example deltas where they are in the lake, else it is the mean as published
-- columns:
--   control: control stratum: C1, C2, C3, C4
--   segmentation: A (everything) or B (structural tokens moved to specials)
--   region: system, user, assistant, and header (A) or specials (B)
--   origin: extracted or published
--   n: examples (NULL where the summary does not say)
--   n_clusters: questions among them (NULL for a published mean)
--   n_distinct: distinct values of delta among them (NULL for a published mean)
--   mean_delta: mean over examples of marker minus control
--   sem_delta: sample standard deviation over sqrt(n), or as published
--   sem_method: analytic (computed here) or published
--   clustered_sem: standard error with examples of one question going together (CR2)
--   clustered_df: degrees of freedom of mean_delta over clustered_sem (Bell and McCaffrey)
--   n_effective_clusters: Kish's effective number of questions
--   marker_mean: mean fraction at the marker
--   control_mean: mean over examples of the mean fraction at the control
with deltas as (
  select run_id, subject, control, segmentation, region, layer, question_id, delta, marker_value, control_value, 'extracted' as origin
  from attention_region_delta
  union all
  select run_id, subject, control, 'B', 'system', layer, question_id, delta, null, null, origin
  from attention_delta
  where origin = 'published'
),
summaries as (
  select * from published_regions
),
sizes as (
  select subject, max(number)::bigint as n from published_facts where name = 'n_examples' and record = 'attention_summary' group by subject
),
questions as (
  select
    run_id,
    subject,
    origin,
    control,
    segmentation,
    region,
    layer,
    question_id,
    count(*) as n,
    list(distinct delta) as values_found,
    sum(delta) as total,
    var_pop(delta) * count(*) as squares,
    sum(marker_value) as marker_total,
    sum(control_value) as control_total
  from deltas
  group by run_id, subject, origin, control, segmentation, region, layer, question_id
),
centred as (
  select *, sum(total) over curves / sum(n) over curves as mean_delta, n / sum(n) over curves as share
  from questions
  window curves as (partition by run_id, subject, origin, control, segmentation, region, layer)
),
sums as (
  select
    run_id,
    subject,
    origin,
    control,
    segmentation,
    region,
    layer,
    sum(n)::bigint as n,
    n_known_clusters(question_id) as n_clusters,
    n_distinct_among(values_found) as n_distinct,
    any_value(mean_delta) as mean_delta,
    total_squares(n, total, squares, mean_delta) as squares,
    cr2_squares(n, total, mean_delta, share) as cluster_squares,
    cr2_df(share) as df,
    effective_clusters(share) as n_effective,
    sum(marker_total) / sum(n) as marker_mean,
    sum(control_total) / sum(n) as control_mean
  from centred
  group by run_id, subject, origin, control, segmentation, region, layer
),
computed as (
  select distinct subject from published_deltas where control = 'C1'
),
final as (
  select
    s.run_id,
    s.subject,
    s.origin,
    s.control,
    s.segmentation,
    s.region,
    s.layer,
    s.n,
    s.n_clusters,
    s.n_distinct,
    s.mean_delta,
    pooled_sd(s.n, s.squares) / sqrt(s.n) as sem_delta,
    'analytic' as sem_method,
    cr2_sem(s.n, s.n_clusters, s.cluster_squares) as clustered_sem,
    case when s.n_clusters > 1 then s.df end as clustered_df,
    case when s.n_clusters > 0 then s.n_effective end as n_effective_clusters,
    coalesce(s.marker_mean, p.marker_mean) as marker_mean,
    coalesce(s.control_mean, p.control_mean) as control_mean
  from sums as s
  left join summaries as p
    on s.origin = 'published' and s.control = 'C1' and p.subject = s.subject and p.segmentation = s.segmentation and p.region = s.region and p.layer = s.layer
  union all
  select
    p.run_id,
    p.subject,
    'published',
    'C1',
    p.segmentation,
    p.region,
    p.layer,
    z.n,
    null,
    null,
    p.mean_delta,
    p.sem_delta,
    'published',
    null,
    null,
    null,
    p.marker_mean,
    p.control_mean
  from summaries as p
  left join sizes as z using (subject)
  where not (p.segmentation = 'B' and p.region = 'system' and p.subject in (select subject from computed))
)
select * from final
