-- diff_of_diffs_summary: trained against base over all layers: the published counts over layers, and the paired test over generations
-- grain: trained_run, base_run
-- source: issue 224, README of the published files (difference of differences); paired and clustered tests as own addition
-- columns:
--   trained_run: run of the checkpoint that sampled the tokens
--   base_run: run of the checkpoint that was force-fed them
--   trained_subject: subject of trained_run
--   base_subject: subject of base_run
--   origin: extracted or published
--   n: generations read by both
--   n_clusters: questions among them (NULL where the published rows are not joined to their positives)
--   n_distinct: distinct layer-mean differences among them
--   n_layers: layers
--   mean: mean over layers of the difference of differences
--   max: largest over layers
--   max_layer: its layer, the first on ties
--   min: smallest over layers
--   min_layer: its layer, the first on ties
--   n_positive: layers above 0; descriptive only, since layers are not independent
--   n_above: layers above +0.005
--   n_below: layers below -0.005
--   layer_sign_test_p: exact two-sided binomial p of n_positive of the layers other than 0, as published; descriptive only
--   paired_sem: standard error of the mean over generations of the layer-mean difference
--   paired_t: mean over generations of the layer-mean difference, over paired_sem (NULL where it does not vary)
--   paired_p: two-sided, Student t with n - 1 degrees of freedom
--   paired_examples_positive: generations with a positive layer-mean difference
--   clustered_sem: standard error with generations of one question going together
--   clustered_t: the mean over generations, over clustered_sem
--   clustered_low: lower end of the 95% interval of the mean, Student t with n_clusters - 1 degrees of freedom
--   clustered_high: upper end
--   clustered_p: two-sided, Student t with n_clusters - 1 degrees of freedom: the one test over all layers
--   trained_peak: largest mean delta over layers, trained checkpoint
--   trained_peak_layer: its layer, the first on ties
--   base_peak: largest mean delta over layers, force-fed checkpoint
--   base_peak_layer: its layer, the first on ties
--   peak_shift: trained_peak_layer minus base_peak_layer, in layers
--   peak_ratio: base_peak over trained_peak
with paired as (
  select * from paired_deltas
),
limits as (
  select max(value) filter (name = 'diff_of_diffs_margin') as margin from thresholds
),
layers as (
  select
    trained_run,
    base_run,
    trained_subject,
    base_subject,
    origin,
    layer,
    avg(trained_delta) as trained_delta,
    avg(base_delta) as base_delta,
    avg(difference) as diff_of_diffs
  from paired
  group by trained_run, base_run, trained_subject, base_subject, origin, layer
),
over_layers as (
  select
    trained_run,
    base_run,
    trained_subject,
    base_subject,
    origin,
    count(*) as n_layers,
    avg(diff_of_diffs) as mean,
    max(diff_of_diffs) as max,
    first(layer order by diff_of_diffs desc, layer) as max_layer,
    min(diff_of_diffs) as min,
    first(layer order by diff_of_diffs, layer) as min_layer,
    count(*) filter (diff_of_diffs > 0) as n_positive,
    count(*) filter (diff_of_diffs <> 0) as n_nonzero,
    count(*) filter (diff_of_diffs > margin) as n_above,
    count(*) filter (diff_of_diffs < -margin) as n_below,
    max(trained_delta) as trained_peak,
    first(layer order by trained_delta desc, layer) as trained_peak_layer,
    max(base_delta) as base_peak,
    first(layer order by base_delta desc, layer) as base_peak_layer
  from layers
  cross join limits
  group by trained_run, base_run, trained_subject, base_subject, origin
),
examples as (
  select trained_run, base_run, example_id, sample_ix, row_ix, any_value(question_id) as question_id, avg(difference) as difference
  from paired
  group by trained_run, base_run, example_id, sample_ix, row_ix
),
questions as (
  select
    trained_run,
    base_run,
    question_id,
    count(*) as n,
    list(distinct difference) as values_found,
    count(*) filter (difference > 0) as n_positive,
    sum(difference) as total,
    var_pop(difference) * count(*) as squares,
    min(difference) as lowest,
    max(difference) as highest
  from examples
  group by trained_run, base_run, question_id
),
centred as (
  select *, sum(total) over pairs / sum(n) over pairs as mean from questions window pairs as (partition by trained_run, base_run)
),
over_examples as (
  select
    trained_run,
    base_run,
    sum(n)::bigint as n,
    n_known_clusters(question_id) as n_clusters,
    n_distinct_among(values_found) as n_distinct,
    sum(n_positive)::bigint as n_positive,
    any_value(mean) as mean,
    total_squares(n, total, squares, mean) as squares,
    cluster_squares(n, total, mean) as cluster_squares,
    min(lowest) as lowest,
    max(highest) as highest
  from centred
  group by trained_run, base_run
),
errors as (
  select *, pooled_sd(n, squares) / sqrt(n) as sem, clustered_sem(n, n_clusters, cluster_squares) as clustered_sem from over_examples
),
ratios as (
  select
    *,
    t_ratio(mean, sem, lowest, highest) as t,
    t_ratio(mean, clustered_sem, lowest, highest) as clustered_t,
    half_width(clustered_sem, n_clusters) as half_width
  from errors
),
final as (
  select
    l.trained_run,
    l.base_run,
    l.trained_subject,
    l.base_subject,
    l.origin,
    e.n,
    e.n_clusters,
    e.n_distinct,
    l.n_layers,
    l.mean,
    l.max,
    l.max_layer,
    l.min,
    l.min_layer,
    l.n_positive,
    l.n_above,
    l.n_below,
    sign_test_p(l.n_positive, l.n_nonzero) as layer_sign_test_p,
    e.sem as paired_sem,
    e.t as paired_t,
    student_t_p(e.t, e.n - 1) as paired_p,
    e.n_positive as paired_examples_positive,
    e.clustered_sem,
    e.clustered_t,
    e.mean - e.half_width as clustered_low,
    e.mean + e.half_width as clustered_high,
    student_t_p(e.clustered_t, e.n_clusters - 1) as clustered_p,
    l.trained_peak,
    l.trained_peak_layer,
    l.base_peak,
    l.base_peak_layer,
    l.trained_peak_layer - l.base_peak_layer as peak_shift,
    l.base_peak / nullif(l.trained_peak, 0) as peak_ratio
  from over_layers as l
  join ratios as e using (trained_run, base_run)
)
select * from final
