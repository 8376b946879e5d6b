-- patching_summary: the patching candidates of a family in one row, beside what the study printed of them
-- grain: run_id, base_run, family
-- source: mduffster/self-referent-test (patching_summary_<family>.json)
-- columns:
--   base_run: entropy run of the base variant (NULL of published candidates)
--   origin: extracted or published
--   family: model family: of published files as the study calls it (their folder), of readings made here the architecture of the checkpoint
--   n: candidates
--   mean_did: mean of did
--   std_did: its standard deviation, n - 1
--   mean_did_log_ratio: mean of did_log_ratio; printed as mean_log_ratio_median
--   std_did_log_ratio: its standard deviation, n - 1; printed as std_log_ratio_median
--   mean_log_ratio: mean of log_ratio, which the printed name promises
--   mean_consistency: mean of consistency
--   mean_composite: mean of composite
--   layers: layers that hold a candidate
--   top_layer: layer of rank 1
--   top_head: head of rank 1
--   n_direction_conflicts: candidates whose did and self_diff differ in sign
--   n_sure: candidates with sign_p_bonferroni below 0.05 (NULL where the model is not known)
--   printed_deviation: largest distance of the figures here from the printed ones (NULL where none were printed)
--   printed_places_agree: layers, top_layer and top_head are as printed (NULL where none were printed)
with candidates as (
  select * from patching_candidates where is_top
),
ingested as (
  select run_id, finished from runs
),
printed as (
  select p.*
  from published_patching_summaries as p
  join ingested as i using (run_id)
  qualify row_number() over (partition by p.family order by i.finished desc, p.run_id) = 1
),
computed as (
  select
    run_id,
    base_run,
    origin,
    family,
    count(*) as n,
    avg(did) as mean_did,
    stddev_samp(did) as std_did,
    avg(did_log_ratio) as mean_did_log_ratio,
    stddev_samp(did_log_ratio) as std_did_log_ratio,
    avg(log_ratio) as mean_log_ratio,
    avg(consistency) as mean_consistency,
    avg(composite) as mean_composite,
    list_sort(list(distinct layer)) as layers,
    first(layer order by rank) as top_layer,
    first(head order by rank) as top_head,
    count(*) filter (direction_conflict) as n_direction_conflicts,
    case when bool_and(n_heads_searched is not null) then count(*) filter (sign_p_bonferroni < 0.05) end as n_sure
  from candidates
  group by run_id, base_run, origin, family
),
final as (
  select
    c.*,
    greatest(
      abs(c.n - p.total_candidates),
      abs(c.mean_did - p.mean_did_median),
      abs(c.std_did - p.std_did_median),
      abs(c.mean_did_log_ratio - p.mean_log_ratio_median),
      abs(c.std_did_log_ratio - p.std_log_ratio_median),
      abs(c.mean_consistency - p.mean_consistency),
      abs(c.mean_composite - p.mean_composite_score)
    )::double as printed_deviation,
    list_sort(p.layers_with_candidates) = c.layers and p.top_layer = c.top_layer and p.top_head = c.top_head as printed_places_agree
  from computed as c
  left join printed as p on p.family = c.family and c.origin = 'published'
)
select * from final
