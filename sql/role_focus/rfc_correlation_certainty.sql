-- rfc_correlation_certainty: how sure the correlation of two families' RFC differences is when prompts are drawn again, corrected for the noise of both profiles
-- grain: base_run_a, instruct_run_a, base_run_b, instruct_run_b, family_a, family_b, alignment
-- source: own; the textbook p of rfc_correlation takes layers as independent, which they are not. Noise pulls a correlation towards 0, or towards that of the errors,
--   since both families read the same prompts: covariance and variances over layers less those of the errors, from prompts drawn again (Spearman 1904 in the form of
--   variances; reliability as the mean over all halves of the prompts, Cronbach 1951); interval by how the draws move the estimate, to first order, Student t over prompts
-- columns:
--   base_run_a: entropy run of the base variant of family a
--   instruct_run_a: of its instruct variant
--   base_run_b: of the base variant of family b
--   instruct_run_b: of its instruct variant
--   family_a: first family, in alphabetical order
--   family_b: second family
--   alignment: layer index or relative depth, as in rfc_profile_pairs
--   n: points compared
--   reliability_a: share of the variance of family a's profile over layers that is not error of its prompts, at least 0
--   reliability_b: the same of family b
--   corrected: Pearson correlation as it would be without these errors, the layers being those there are (NULL where errors are all of a profile)
--   corrected_low: lower end of its 95% interval (NULL with corrected_missing)
--   corrected_high: upper end
--   corrected_missing: too noisy to tell: a reliability below that of `thresholds` (NULL where there is an interval)
--   low: lower end of the 95% percentile interval of the uncorrected Pearson correlation, whose draws hold the noise twice
--   high: upper end
--   share_positive: share of draws with a positive correlation
--   resamples: draws
with points as (
  select * from rfc_profile_pairs where origin = 'extracted'
),
-- four joins read the draws: computed once
drawn as materialized (
  select i.base_run, i.instruct_run, i.layer, i.n_prompts, unnest(range(len(i.replicates))) as draw, unnest(i.replicates)::double as rfc_diff
  from rfc_intervals as i
  join analysis_standing as s using (run_id)
  where s.is_current and i.layer is not null
),
placed as (
  select
    p.base_run_a,
    p.instruct_run_a,
    p.base_run_b,
    p.instruct_run_b,
    p.family_a,
    p.family_b,
    p.alignment,
    p.point,
    a.draw,
    least(a.n_prompts, b.n_prompts) as n_prompts,
    p.rfc_diff_a as seen_a,
    p.rfc_diff_b as seen_b,
    a.rfc_diff + p.share_a * (coalesce(a_next.rfc_diff, a.rfc_diff) - a.rfc_diff) as a,
    b.rfc_diff + p.share_b * (coalesce(b_next.rfc_diff, b.rfc_diff) - b.rfc_diff) as b
  from points as p
  join drawn as a on a.base_run = p.base_run_a and a.instruct_run = p.instruct_run_a and a.layer = p.low_a
  join drawn as b on b.base_run = p.base_run_b and b.instruct_run = p.instruct_run_b and b.layer = p.low_b and b.draw = a.draw
  left join drawn as a_next on a_next.base_run = p.base_run_a and a_next.instruct_run = p.instruct_run_a and a_next.layer = p.low_a + 1 and a_next.draw = a.draw
  left join drawn as b_next on b_next.base_run = p.base_run_b and b_next.instruct_run = p.instruct_run_b and b_next.layer = p.low_b + 1 and b_next.draw = a.draw
),
correlated as (
  select
    base_run_a,
    instruct_run_a,
    base_run_b,
    instruct_run_b,
    family_a,
    family_b,
    alignment,
    draw,
    min(n_prompts) as n_prompts,
    count(*) as n,
    profile_corr(a, b) as r,
    var_pop(seen_a) as square_a,
    var_pop(seen_b) as square_b,
    covar_pop(seen_a, seen_b) as product,
    var_pop(a - seen_a) as error_a,
    var_pop(b - seen_b) as error_b,
    covar_pop(a - seen_a, b - seen_b) as error_product,
    2 * covar_pop(seen_a, a - seen_a) as move_a,
    2 * covar_pop(seen_b, b - seen_b) as move_b,
    covar_pop(seen_a, b - seen_b) + covar_pop(seen_b, a - seen_a) as move_product
  from placed
  group by all
),
-- a draw of n prompts moves by (n - 1) / n of the variance of their mean
cleared as (
  select
    * exclude (draw),
    n_prompts / (n_prompts - 1) as scale,
    square_a - scale * avg(error_a) over pair as true_a,
    square_b - scale * avg(error_b) over pair as true_b,
    product - scale * avg(error_product) over pair as true_product
  from correlated
  window pair as (partition by base_run_a, instruct_run_a, base_run_b, instruct_run_b, family_a, family_b, alignment)
),
moved as (
  select
    *,
    true_product / case when true_a > 0 and true_b > 0 then sqrt(true_a * true_b) end as corrected,
    corrected * (move_product / nullif(true_product, 0) - (move_a / true_a + move_b / true_b) / 2) as move
  from cleared
),
summed as (
  select
    base_run_a,
    instruct_run_a,
    base_run_b,
    instruct_run_b,
    family_a,
    family_b,
    alignment,
    min(n) as n,
    min(n_prompts) as n_prompts,
    any_value(true_a / nullif(square_a, 0)) as reliability_a,
    any_value(true_b / nullif(square_b, 0)) as reliability_b,
    any_value(corrected) as corrected,
    stddev_samp(move) * sqrt(any_value(scale)) as sem,
    quantile_cont(r, 0.025) as low,
    quantile_cont(r, 0.975) as high,
    avg((r > 0)::int) as share_positive,
    count(r) as resamples
  from moved
  group by all
),
judged as (
  select
    s.*,
    half_width(s.sem, s.n_prompts) as half_width,
    coalesce(least(s.reliability_a, s.reliability_b) < l.reliability or s.corrected is null, true) as is_noisy
  from summed as s
  cross join (select max(value) filter (name = 'profile_reliability') as reliability from thresholds) as l
),
final as (
  select
    base_run_a,
    instruct_run_a,
    base_run_b,
    instruct_run_b,
    family_a,
    family_b,
    alignment,
    n,
    case when reliability_a is not null then greatest(0.0, reliability_a) end as reliability_a,
    case when reliability_b is not null then greatest(0.0, reliability_b) end as reliability_b,
    case when corrected is not null then least(1.0, greatest(-1.0, corrected)) end as corrected,
    case when not is_noisy and half_width is not null then least(1.0, greatest(-1.0, corrected - half_width)) end as corrected_low,
    case when not is_noisy and half_width is not null then least(1.0, greatest(-1.0, corrected + half_width)) end as corrected_high,
    case when is_noisy then 'too noisy to tell' end as corrected_missing,
    low,
    high,
    share_positive,
    resamples
  from judged
)
select * from final
