-- diff_of_diffs_summary: trained against base over all layers: the published counts over layers, and the paired test over generations
-- grain: trained_run, base_run
-- source: issue 224, README of the published files (difference of differences); paired and clustered tests (CR2; Bell and McCaffrey 2002) as own addition
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
--   clustered_sem: standard error with generations of one question going together (CR2)
--   clustered_t: the mean over generations, over clustered_sem
--   clustered_low: lower end of the 95% interval of the mean, Student t with clustered_df degrees of freedom
--   clustered_high: upper end
--   clustered_p: two-sided, Student t with clustered_df degrees of freedom: the one test over all layers
--   clustered_df: degrees of freedom of clustered_t (Bell and McCaffrey): n_clusters - 1 where questions are equally large, fewer where not
--   n_effective_clusters: Kish's effective number of questions, (sum of sizes)^2 / sum of squared sizes: so many equally large ones weigh as much
--   question_skewness: sample skewness of the questions' means (NULL with fewer than three, or none that differ)
--   is_skewed: question_skewness is at least 1 and beyond twice its standard error under normality: the interval is too short on one side
--   margin: differences within plus and minus this count as none (thresholds: diff_of_diffs_margin)
--   equivalence_p: p of two one-sided t tests, clustered by question, that the mean lies within the margin (Schuirmann 1987)
--   movement: equivalent (equivalence_p below 0.05: shown to lie within the margin), else moved (clustered_p below 0.05), else cannot tell
--   trained_peak: largest mean delta over layers, trained checkpoint
--   trained_peak_layer: its layer, the first on ties
--   base_peak: largest mean delta over layers, force-fed checkpoint
--   base_peak_layer: its layer, the first on ties
--   peak_shift: trained_peak_layer minus base_peak_layer, in layers
--   peak_ratio: base_peak over trained_peak
with limits as (
  select (max(value) filter (name = 'diff_of_diffs_margin'))::double as margin from thresholds
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
  from paired_deltas
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
  from paired_deltas
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
  select *, sum(total) over pairs / sum(n) over pairs as mean, n / sum(n) over pairs as share from questions window pairs as (partition by trained_run, base_run)
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
    cr2_squares(n, total, mean, share) as cluster_squares,
    cr2_df(share) as df,
    effective_clusters(share) as n_effective,
    cluster_skewness(n, total, mean) as question_skewness,
    min(lowest) as lowest,
    max(highest) as highest
  from centred
  group by trained_run, base_run
),
errors as (
  select
    *,
    pooled_sd(n, squares) / sqrt(n) as sem,
    cr2_sem(n, n_clusters, cluster_squares) as clustered_sem,
    case when n_clusters > 1 then df end as clustered_df,
    case when n_clusters > 0 then n_effective end as n_effective_clusters
  from over_examples
),
ratios as (
  select
    *,
    t_ratio(mean, sem, lowest, highest) as t,
    t_ratio(mean, clustered_sem, lowest, highest) as clustered_t,
    t_half_width(clustered_sem, clustered_df) as half_width,
    student_t_p(t_ratio(mean, clustered_sem, lowest, highest), clustered_df) as clustered_p,
    margin,
    equivalence_p(mean, clustered_sem, clustered_df, margin) as equivalence_p
  from errors
  cross join limits
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
    e.clustered_p,
    e.clustered_df,
    e.n_effective_clusters,
    e.question_skewness,
    is_skewed(e.question_skewness, e.n_clusters) as is_skewed,
    e.margin,
    e.equivalence_p,
    movement_of(e.equivalence_p < 0.05, e.clustered_p < 0.05) as movement,
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
