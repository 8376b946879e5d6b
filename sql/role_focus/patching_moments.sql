-- patching_moments: mean and spread over all heads behind each z score of the patching candidates, recovered from the candidates alone
-- grain: run_id, family, score
-- source: README of the published files: score = (x - mean) / std, so x is a line in the score with slope std and intercept mean
-- columns:
--   origin: extracted or published
--   family: model family: of published files as the study calls it (their folder), of readings made here the architecture of the checkpoint
--   score: magnitude_score (x = absolute did_log_ratio), consistency_score (x = consistency) or baseline_score (x = minus the base entropy)
--   n: candidates the line is fitted to
--   mean: mean of x over all heads of the model
--   std: standard deviation of x over all heads, n - 1
--   fit_error: largest distance of an x from the line; rounding only where the scores are what they are said to be
with candidates as (
  select * from patching_candidates where origin = 'published'
),
scores as (
  select run_id, origin, family, 'magnitude_score' as score, abs(did_log_ratio) as x, magnitude_score as z from candidates
  union all
  select run_id, origin, family, 'consistency_score', consistency, consistency_score from candidates
  union all
  select run_id, origin, family, 'baseline_score', -baseline, baseline_score from candidates
),
fitted as (
  select run_id, origin, family, score, regr_count(x, z) as n, regr_intercept(x, z) as mean, regr_slope(x, z) as std
  from scores
  group by run_id, origin, family, score
  having min(z) < max(z)
),
final as (
  select f.run_id, f.origin, f.family, f.score, f.n, f.mean, f.std, max(abs(s.x - f.mean - f.std * s.z)) as fit_error
  from fitted as f
  join scores as s using (run_id, origin, family, score)
  group by f.run_id, f.origin, f.family, f.score, f.n, f.mean, f.std
)
select * from final
