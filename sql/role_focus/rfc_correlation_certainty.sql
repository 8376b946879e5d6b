-- rfc_correlation_certainty: how sure the correlation of two families' RFC differences is when prompts are drawn again, the same prompts for both families
-- grain: base_run_a, instruct_run_a, base_run_b, instruct_run_b, family_a, family_b, alignment
-- source: own; the textbook p of rfc_correlation takes layers as independent, which they are not
-- columns:
--   base_run_a: entropy run of the base variant of family a
--   instruct_run_a: of its instruct variant
--   base_run_b: of the base variant of family b
--   instruct_run_b: of its instruct variant
--   family_a: first family, in alphabetical order
--   family_b: second family
--   alignment: layer index or relative depth, as in rfc_profile_pairs
--   n: points compared
--   low: lower end of the 95% percentile interval of the Pearson correlation
--   high: upper end
--   share_positive: share of draws with a positive correlation
--   resamples: draws
with points as (
  select * from rfc_profile_pairs where origin = 'extracted'
),
-- four joins read the draws: computed once
drawn as materialized (
  select i.base_run, i.instruct_run, i.layer, unnest(range(len(i.replicates))) as draw, unnest(i.replicates)::double as rfc_diff
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
    count(*) as n,
    profile_corr(a, b) as r
  from placed
  group by all
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
    min(n) as n,
    quantile_cont(r, 0.025) as low,
    quantile_cont(r, 0.975) as high,
    avg((r > 0)::int) as share_positive,
    count(r) as resamples
  from correlated
  group by all
)
select * from final
