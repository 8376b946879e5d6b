-- rfc_correlation: do two families change at the same layers? Correlation of their RFC differences, by layer index and by relative depth
-- grain: base_run_a, instruct_run_a, base_run_b, instruct_run_b, family_a, family_b, alignment
-- source: mduffster/self-referent-test, README of the published files; leave-one-layer-out, Fisher's interval, effective n
--   and the correlation of changes from layer to layer as own addition
-- columns:
--   base_run_a: run of the base variant of family a
--   instruct_run_a: run of its instruct variant
--   base_run_b: run of the base variant of family b
--   instruct_run_b: run of its instruct variant
--   origin: extracted or published
--   family_a: first family, in alphabetical order
--   family_b: second family
--   alignment: layer index (the published way) or relative depth
--   basis: layers (computed from rfc_diff) or printed (a cross-model analysis names the pair, but layers are missing in the lake)
--   n: points compared
--   n_layers_a: layers of family a; those beyond n have no partner under layer index
--   n_layers_b: layers of family b
--   pearson_r: Pearson correlation (NULL where one profile does not vary)
--   pearson_p: two-sided p, Student t with n - 2 degrees of freedom, layers taken as independent
--   spearman_r: Spearman correlation, average ranks
--   spearman_p: its two-sided p by the same t, layers taken as independent
--   pearson_low: lower end of Fisher's 95% interval of pearson_r, layers taken as independent
--   pearson_high: upper end
--   loo_r_min: smallest pearson_r when one point is dropped
--   loo_r_max: largest
--   loo_p_max: largest pearson_p when one point is dropped
--   loo_p_max_point: the point whose omission gives it
--   n_effective: independent points these are worth, from the autocorrelation of both profiles at lag 1
--   pearson_p_effective: pearson_p with n_effective in the place of n; profiles that share nothing but a trend over depth pass it
--   changes_r: Pearson correlation of the changes from each layer to the next, which a trend that both families share over depth hardly enters
--   changes_n_effective: independent changes these are worth, as n_effective
--   changes_p: two-sided p of changes_r with changes_n_effective: do the families agree layer by layer, beyond a common trend?
--   printed_deviation: largest distance from the figures a cross-model analysis printed for the pair (NULL where none did)
with points as (
  select
    {
      'base_run_a': base_run_a,
      'instruct_run_a': instruct_run_a,
      'base_run_b': base_run_b,
      'instruct_run_b': instruct_run_b,
      'origin': origin,
      'family_a': family_a,
      'family_b': family_b,
      'alignment': alignment,
      'n_layers_a': n_layers_a,
      'n_layers_b': n_layers_b
    } as pair,
    point,
    rfc_diff_a as a,
    rfc_diff_b as b
  from rfc_profile_pairs
  where rfc_diff_a is not null and rfc_diff_b is not null
),
ingested as (
  select run_id, finished from runs
),
printed as (
  select p.*, least(p.family_a, p.family_b) as first_family, greatest(p.family_a, p.family_b) as second_family, 'layer index' as alignment
  from published_rfc_correlations as p
  join ingested as i using (run_id)
  qualify row_number() over (partition by first_family, second_family order by p.analysis_timestamp desc nulls last, i.finished desc, p.run_id) = 1
),
ranked as (
  select
    *,
    average_rank(a, pair) as rank_a,
    average_rank(b, pair) as rank_b,
    a - avg(a) over (partition by pair) as centred_a,
    b - avg(b) over (partition by pair) as centred_b
  from points
),
lagged as (
  select *, lag(centred_a) over along as before_a, lag(centred_b) over along as before_b from ranked window along as (partition by pair order by point)
),
correlated as (
  select
    pair,
    count(*) as n,
    profile_corr(a, b) as pearson_r,
    profile_corr(rank_a, rank_b) as spearman_r,
    sum(before_a * centred_a) / nullif(sum(centred_a ** 2), 0) as lag_a,
    sum(before_b * centred_b) / nullif(sum(centred_b ** 2), 0) as lag_b
  from lagged
  group by pair
),
steps as (
  select pair, point, centred_a - before_a as step_a, centred_b - before_b as step_b from lagged where before_a is not null
),
centred_steps as (
  select pair, point, step_a - avg(step_a) over (partition by pair) as step_a, step_b - avg(step_b) over (partition by pair) as step_b from steps
),
lagged_steps as (
  select *, lag(step_a) over along as before_a, lag(step_b) over along as before_b from centred_steps window along as (partition by pair order by point)
),
changed as (
  select
    pair,
    profile_corr(step_a, step_b) as changes_r,
    effective_n(
      count(*), sum(before_a * step_a) / nullif(sum(step_a ** 2), 0), sum(before_b * step_b) / nullif(sum(step_b ** 2), 0)
    ) as changes_n_effective
  from lagged_steps
  group by pair
),
omissions as (
  select left_out.pair, left_out.point, profile_corr(kept.a, kept.b) as r, count(*) as n
  from points as left_out
  join points as kept on kept.pair = left_out.pair and kept.point <> left_out.point
  group by left_out.pair, left_out.point
),
omitted as (
  select *, pearson_p(r, n) as p from omissions
),
ranges as (
  select pair, min(r) as loo_r_min, max(r) as loo_r_max, max(p) as loo_p_max, first(point order by p desc nulls last, point) as loo_p_max_point
  from omitted
  group by pair
),
computed as (
  select
    c.pair.base_run_a,
    c.pair.instruct_run_a,
    c.pair.base_run_b,
    c.pair.instruct_run_b,
    c.pair.origin,
    c.pair.family_a,
    c.pair.family_b,
    c.pair.alignment,
    'layers' as basis,
    c.n,
    c.pair.n_layers_a,
    c.pair.n_layers_b,
    c.pearson_r,
    pearson_p(c.pearson_r, c.n) as pearson_p,
    c.spearman_r,
    pearson_p(c.spearman_r, c.n) as spearman_p,
    fisher_low(c.pearson_r, c.n) as pearson_low,
    fisher_high(c.pearson_r, c.n) as pearson_high,
    r.loo_r_min,
    r.loo_r_max,
    r.loo_p_max,
    r.loo_p_max_point,
    effective_n(c.n, c.lag_a, c.lag_b) as n_effective,
    pearson_p(c.pearson_r, n_effective) as pearson_p_effective,
    d.changes_r,
    d.changes_n_effective,
    pearson_p(d.changes_r, d.changes_n_effective) as changes_p
  from correlated as c
  left join ranges as r using (pair)
  left join changed as d using (pair)
),
final as (
  select
    c.*,
    greatest(
      abs(c.pearson_r - p.pearson_r),
      abs(c.pearson_p - p.pearson_p),
      abs(c.spearman_r - p.spearman_r),
      abs(c.spearman_p - p.spearman_p),
      abs(c.n - p.layers_compared)
    )::double as printed_deviation
  from computed as c
  left join printed as p
    on p.first_family = c.family_a
    and p.second_family = c.family_b
    and p.alignment = c.alignment
    and c.origin = 'published'
  union all by name
  select
    p.run_id as base_run_a,
    p.run_id as instruct_run_a,
    p.run_id as base_run_b,
    p.run_id as instruct_run_b,
    'published' as origin,
    p.first_family as family_a,
    p.second_family as family_b,
    p.alignment,
    'printed' as basis,
    p.layers_compared as n,
    p.pearson_r,
    p.pearson_p,
    p.spearman_r,
    p.spearman_p,
    fisher_low(p.pearson_r, p.layers_compared) as pearson_low,
    fisher_high(p.pearson_r, p.layers_compared) as pearson_high
  from printed as p
  anti join (select * from computed where origin = 'published') as c on c.family_a = p.first_family and c.family_b = p.second_family
)
select * from final
