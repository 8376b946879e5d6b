-- preflight: the marker rate under SDPA and under eager attention, on the same prompts with the same seeds, and whether the two are told apart
-- grain: run_id, persona, implementation
-- source: issue 224, README of the published files (preflight); Wilson (1927); intervals by question as in macros/rates.sql, of the difference as in
--   macros/paired_rates.sql (Agresti and Min 2005); equivalence by two one-sided tests (Schuirmann 1987)
-- columns:
--   origin: extracted or published
--   persona: persona of the system prompt (NULL in a published record, which does not name it)
--   n: completions sampled (NULL where published)
--   k: completions whose text holds the marker (NULL where published)
--   rate: k over n
--   n_questions: questions, the units of replication (NULL where published)
--   wilson_low: lower end of Wilson's 95% interval, completions taken as independent
--   wilson_high: upper end
--   clustered_low: lower end of the 95% interval by question (NULL where published)
--   clustered_high: upper end
--   n_same: completions whose text is the same under every implementation (NULL where published)
--   difference: largest rate of the persona minus its smallest
--   tolerance: largest difference that the run lets pass: the margin of the tests
--   differs: difference is above tolerance: the published rule, which stops equal rates in up to every second case
--   n_discordant: samples of which one alone holds the marker, under one implementation and not under the other with the same seed
--   n_tests: tests among which the 5% of false stops are shared: those the run was told of, at least as many as its study holds
--   paired_difference: rate under eager minus rate under SDPA, seed by seed (NULL where published)
--   paired_low: lower end of its 95% interval by question, over all n_tests together (Bonferroni)
--   paired_high: upper end
--   equivalence_low: lower end of its 90% interval, which is within the tolerance where two one-sided tests at 5% say so
--   equivalence_high: upper end
--   decision: equivalent (the 90% interval is within the tolerance), differs (the interval over all tests excludes 0, and the difference is above tolerance) or
--     cannot tell; a study stops on differs alone (NULL where published)
with set_values as (
  select
    run_id,
    max(try_cast(value as double)) filter (name = 'tolerance') as tolerance,
    max(try_cast(value as bigint)) filter (name = 'tests') as n_tests
  from parameters
  group by run_id
),
facts as (
  select run_id, name, number from published_facts where record = 'preflight'
),
repeated as (
  select
    *,
    min(text) over repeats = max(text) over repeats as same,
    max(present::integer) filter (implementation = 'eager') over repeats - max(present::integer) filter (implementation = 'sdpa') over repeats as gap
  from preflight_samples
  window repeats as (partition by run_id, example_id, sample_ix)
),
questions as (
  select
    run_id,
    any_value(checkpoint) as checkpoint,
    persona,
    implementation,
    question_id,
    count(*) as n,
    count(*) filter (present) as k,
    count(*) filter (same) as n_same,
    count(*) filter (gap > 0) as more,
    count(*) filter (gap < 0) as less
  from repeated
  group by run_id, persona, implementation, question_id
),
centred as (
  select
    *,
    sum(k) over persona_of / sum(n) over persona_of as rate,
    sum(more - less) over persona_of / sum(n) over persona_of as mean_gap,
    n / sum(n) over persona_of as share
  from questions
  window persona_of as (partition by run_id, persona, implementation)
),
told as (
  select
    run_id,
    any_value(checkpoint) as checkpoint,
    persona,
    implementation,
    sum(n)::bigint as n,
    sum(k)::bigint as k,
    any_value(rate) as rate,
    count(*) as n_questions,
    sum(n_same)::bigint as n_same,
    sum(more)::bigint as more,
    sum(less)::bigint as less,
    sum(n ** 2) as sizes,
    n_informative(k, n) as n_informative,
    count(*) filter (more + less > 0) as n_differing,
    rate_icc(sum(n), any_value(rate), count(*), cr2_squares(n, k, rate, share), sum(n ** 2)) as icc,
    paired_icc(sum(n), sum(more), sum(less), count(*), sum((more - less - n * mean_gap) ** 2), sum(n ** 2)) as gap_icc
  from centred
  group by run_id, persona, implementation
),
studies as (
  select run_id, coalesce(study, run_id) as study from runs
),
sized as (
  select
    t.*,
    n_effective(t.n, t.sizes, settled_icc(t.icc, t.n_informative, prior_icc(t.icc, t.n_informative, t.run_id))) as n_effective,
    n_effective(t.n, t.sizes, settled_icc(t.gap_icc, t.n_differing, 0)) as gap_n_effective,
    greatest(coalesce(v.n_tests, 1), count(*) filter (t.implementation = 'eager') over (partition by s.study)) as n_tests
  from told as t
  join studies as s using (run_id)
  left join set_values as v using (run_id)
),
levels as (
  select n_questions, n_tests, unnest(['rate', 'all tests', 'one-sided']) as use, unnest([0.975, 1 - 0.025 / n_tests, 0.95]) as level
  from (select distinct n_questions, n_tests from sized)
),
quantiles as (
  select
    n_questions,
    n_tests,
    max(t) filter (use = 'rate') as rate_t,
    max(t) filter (use = 'all tests') as all_t,
    max(t) filter (use = 'one-sided') as one_t
  from (select *, student_t_quantile(level, greatest(1, n_questions - 1)) as t from levels)
  group by n_questions, n_tests
),
counted as (
  select
    s.run_id,
    s.checkpoint,
    s.persona,
    s.implementation,
    'extracted' as origin,
    s.n,
    s.k,
    s.rate,
    s.n_questions,
    rate_low(s.rate, s.n_effective, q.rate_t) as clustered_low,
    rate_high(s.rate, s.n_effective, q.rate_t) as clustered_high,
    s.n_same,
    s.more + s.less as n_discordant,
    s.n_tests,
    (s.more - s.less) / s.n as paired_difference,
    paired_centre(s.more, s.less, s.n, s.gap_n_effective) as centre,
    paired_se(s.more, s.less, s.n, s.gap_n_effective) as se,
    q.all_t,
    q.one_t
  from sized as s
  join quantiles as q using (n_questions, n_tests)
),
published as (
  select run_id, substr(name, len('rates.') + 1) as implementation, 'published' as origin, number as rate
  from facts
  where starts_with(name, 'rates.') and number is not null
),
allowed as (
  select run_id, tolerance from set_values where tolerance is not null
  union all
  select run_id, number from facts where name = 'tolerance_pp'
),
gathered as (
  select * from counted
  union all by name
  select * from published
),
bounded as (
  select
    g.*,
    coalesce(a.tolerance, case g.origin when 'extracted' then m.value end) as tolerance,
    max(g.rate) over of_persona - min(g.rate) over of_persona as difference,
    g.centre - g.all_t * g.se as paired_low,
    g.centre + g.all_t * g.se as paired_high,
    g.centre - g.one_t * g.se as equivalence_low,
    g.centre + g.one_t * g.se as equivalence_high
  from gathered as g
  left join allowed as a using (run_id)
  cross join (select value from thresholds where name = 'preflight_margin') as m
  window of_persona as (partition by g.run_id, g.persona)
),
final as (
  select
    run_id,
    checkpoint,
    persona,
    implementation,
    origin,
    n,
    k,
    rate,
    n_questions,
    wilson_low(k, n) as wilson_low,
    wilson_high(k, n) as wilson_high,
    clustered_low,
    clustered_high,
    n_same,
    difference,
    tolerance,
    difference > tolerance + 1e-9 as differs,
    n_discordant,
    n_tests,
    paired_difference,
    paired_low,
    paired_high,
    equivalence_low,
    equivalence_high,
    case
      when paired_difference is null then null
      when abs(paired_difference) > tolerance + 1e-9 and (paired_low > 0 or paired_high < 0) then 'differs'
      when equivalence_low > -tolerance and equivalence_high < tolerance then 'equivalent'
      else 'cannot tell'
    end as decision
  from bounded
)
select * from final
