-- rfc_summary: RFC differences of a family over its layers: the published counts and mean, and how much of the mean one layer carries
-- grain: base_run, instruct_run, family
-- source: mduffster/self-referent-test, README of the published files (population standard deviation; threshold 0.01); shares and tests as own addition
-- columns:
--   base_run: run that holds the base variant
--   instruct_run: run that holds the instruct variant; the same run for a published comparison
--   origin: extracted or published
--   family: model family: of published files as the study calls it (their folder), of readings made here the architecture of the checkpoint
--   basis: layers (computed from rfc_diff) or printed (a cross-model analysis names the family, but its layers are not in the lake)
--   n_layers: layers
--   mean: mean over layers of rfc_diff
--   std: its standard deviation over layers, dividing by n
--   min: smallest over layers
--   min_layer: its layer, the first on ties
--   max: largest over layers
--   max_layer: its layer, the first on ties
--   median: median over layers
--   n_positive: layers above 0
--   n_negative: layers below 0
--   n_above: layers above +0.01
--   n_below: layers below -0.01
--   n_near_zero: layers within 0.01 of 0
--   share_above: n_above over n_layers
--   share_below: n_below over n_layers ("compressed")
--   share_near_zero: n_near_zero over n_layers
--   n_excludes_zero: layers whose 95% interval of rfc_diff leaves out 0
--   n_changed_unsure: layers beyond 0.01 whose interval includes 0
--   n_rsi_excludes_zero: layers whose 95% interval of rsi_diff leaves out 0
--   n_fdr: layers with welch_p_fdr below 0.05
--   largest_layer: layer of the largest absolute rfc_diff, the first on ties
--   max_layer_share: rfc_diff of that layer over the sum of rfc_diff; about 1 or more: the mean is that layer's
--   mean_without_max_layer: mean after dropping max_layer
--   mean_without_largest_layer: mean after dropping largest_layer
--   n_heads: heads that were read, the fewest of any layer
--   n_heads_model: heads the model has per layer (NULL where the model is not known)
--   printed_deviation: largest distance of the figures here from those a cross-model analysis printed for the family (NULL where none did)
with ingested as (
  select run_id, finished from runs
),
printed as (
  select p.*, case when abs(p.max) >= abs(p.min) then p.max else p.min end as largest
  from published_rfc_summaries as p
  join ingested as i using (run_id)
  qualify row_number() over (partition by p.family order by p.analysis_timestamp desc nulls last, i.finished desc, p.run_id) = 1
),
computed as (
  select
    base_run,
    instruct_run,
    origin,
    family,
    count(rfc_diff) as n_layers,
    avg(rfc_diff) as mean,
    stddev_pop(rfc_diff) as std,
    min(rfc_diff) as min,
    first(layer order by rfc_diff nulls last, layer) as min_layer,
    max(rfc_diff) as max,
    first(layer order by rfc_diff desc nulls last, layer) as max_layer,
    median(rfc_diff) as median,
    count(*) filter (rfc_diff > 0) as n_positive,
    count(*) filter (rfc_diff < 0) as n_negative,
    count(*) filter (changed and rfc_diff > 0) as n_above,
    count(*) filter (changed and rfc_diff < 0) as n_below,
    count(*) filter (not changed) as n_near_zero,
    count(*) filter (excludes_zero) as n_excludes_zero,
    count(*) filter (changed and not excludes_zero) as n_changed_unsure,
    count(*) filter (rsi_excludes_zero) as n_rsi_excludes_zero,
    count(*) filter (welch_p_fdr < 0.05) as n_fdr,
    first(layer order by abs(rfc_diff) desc nulls last, layer) as largest_layer,
    first(rfc_diff order by abs(rfc_diff) desc nulls last, layer) as largest,
    min(n_heads) as n_heads,
    min(n_heads_model) as n_heads_model
  from rfc_diff
  group by base_run, instruct_run, origin, family
),
measured as (
  select
    c.*,
    'layers' as basis,
    greatest(
      abs(c.mean - p.mean),
      abs(c.std - p.std),
      abs(c.min - p.min),
      abs(c.max - p.max),
      abs(c.n_positive - p.positive_count),
      abs(c.n_negative - p.negative_count),
      abs(c.n_above - p.significant_positive),
      abs(c.n_below - p.significant_negative),
      abs(c.n_near_zero - p.near_zero),
      abs(c.n_layers - p.total_layers)
    )::double as printed_deviation
  from computed as c
  left join printed as p on p.family = c.family and c.origin = 'published'
  union all by name
  select
    p.run_id as base_run,
    p.run_id as instruct_run,
    'published' as origin,
    p.family,
    p.total_layers as n_layers,
    p.mean,
    p.std,
    p.min,
    p.max,
    p.positive_count as n_positive,
    p.negative_count as n_negative,
    p.significant_positive as n_above,
    p.significant_negative as n_below,
    p.near_zero as n_near_zero,
    p.largest,
    m.n_heads as n_heads_model,
    'printed' as basis
  from printed as p
  left join published_models as m on m.family = lower(p.family) and m.n_layers = p.total_layers
  where p.family not in (select family from computed where origin = 'published')
),
final as (
  select
    base_run,
    instruct_run,
    origin,
    family,
    basis,
    n_layers,
    mean,
    std,
    min,
    min_layer,
    max,
    max_layer,
    median,
    n_positive,
    n_negative,
    n_above,
    n_below,
    n_near_zero,
    n_above / nullif(n_layers, 0) as share_above,
    n_below / nullif(n_layers, 0) as share_below,
    n_near_zero / nullif(n_layers, 0) as share_near_zero,
    n_excludes_zero,
    n_changed_unsure,
    n_rsi_excludes_zero,
    n_fdr,
    largest_layer,
    largest / nullif(mean * n_layers, 0) as max_layer_share,
    (mean * n_layers - max) / nullif(n_layers - 1, 0) as mean_without_max_layer,
    (mean * n_layers - largest) / nullif(n_layers - 1, 0) as mean_without_largest_layer,
    n_heads,
    n_heads_model,
    printed_deviation
  from measured
)
select * from final
