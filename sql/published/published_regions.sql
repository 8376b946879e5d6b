-- published_regions: means and standard errors per region and layer at the marker, at C1 and of their difference, as published
-- grain: subject, segmentation, region, layer
-- source: as published (attention_summary.json, region_means)
-- columns:
--   segmentation: A (everything) or B (structural tokens moved to specials)
--   region: system, user, assistant, and header (A) or specials (B)
--   marker_mean: mean over examples of the fraction at the marker
--   marker_sem: its standard error, sample standard deviation over sqrt(n)
--   control_mean: mean over examples of the mean fraction over C1 positions
--   control_sem: its standard error
--   mean_delta: mean over examples of marker minus C1
--   sem_delta: its bootstrap standard error
with found as (
  select * from published_values where starts_with(statistic, 'region_means.')
),
parts as (
  select segmentation, region, published_region from regions
),
final as (
  select
    any_value(f.run_id) as run_id,
    f.subject,
    p.segmentation,
    p.region,
    f.layer,
    max(f.value) filter (f.statistic = 'region_means.marker_mean') as marker_mean,
    max(f.value) filter (f.statistic = 'region_means.marker_sem') as marker_sem,
    max(f.value) filter (f.statistic = 'region_means.c1_mean') as control_mean,
    max(f.value) filter (f.statistic = 'region_means.c1_sem') as control_sem,
    max(f.value) filter (f.statistic = 'region_means.delta_c1_mean') as mean_delta,
    max(f.value) filter (f.statistic = 'region_means.delta_c1_sem') as sem_delta
  from found as f
  join parts as p on p.published_region = f.region
  group by f.subject, p.segmentation, p.region, f.layer
)
select * from final
