-- preflight: the marker rate under SDPA and under eager attention, on the same prompts with the same seeds
-- grain: run_id, persona, implementation
-- source: issue 224, README of the published files (preflight); Wilson (1927)
-- columns:
--   origin: extracted or published
--   persona: persona of the system prompt (NULL in a published record, which does not name it)
--   n: completions sampled (NULL where published)
--   k: completions whose text holds the marker (NULL where published)
--   rate: k over n
--   wilson_low: lower end of Wilson's 95% interval, completions taken as independent
--   wilson_high: upper end
--   n_same: completions whose text is the same under every implementation (NULL where published)
--   difference: largest rate of the persona minus its smallest
--   tolerance: largest difference that the run lets pass
--   differs: difference is above tolerance
with set_tolerance as (
  select run_id, try_cast(value as double) as tolerance from parameters where name = 'tolerance'
),
facts as (
  select run_id, name, number from published_facts where record = 'preflight'
),
paired as (
  select *, min(text) over repeats = max(text) over repeats as same from preflight_samples window repeats as (partition by run_id, example_id, sample_ix)
),
counted as (
  select
    run_id,
    checkpoint,
    persona,
    implementation,
    'extracted' as origin,
    count(*) as n,
    count(*) filter (present) as k,
    count(*) filter (present) / count(*) as rate,
    count(*) filter (same) as n_same
  from paired
  group by run_id, checkpoint, persona, implementation
),
published as (
  select
    run_id,
    null::varchar as checkpoint,
    null::varchar as persona,
    substr(name, len('rates.') + 1) as implementation,
    'published' as origin,
    null::bigint as n,
    null::bigint as k,
    number as rate,
    null::bigint as n_same
  from facts
  where starts_with(name, 'rates.') and number is not null
),
allowed as (
  select run_id, tolerance from set_tolerance
  union all
  select run_id, number from facts where name = 'tolerance_pp'
),
gathered as (
  select * from counted
  union all
  select * from published
),
final as (
  select
    g.run_id,
    g.checkpoint,
    g.persona,
    g.implementation,
    g.origin,
    g.n,
    g.k,
    g.rate,
    wilson_low(g.k, g.n) as wilson_low,
    wilson_high(g.k, g.n) as wilson_high,
    g.n_same,
    max(g.rate) over of_persona - min(g.rate) over of_persona as difference,
    a.tolerance,
    max(g.rate) over of_persona - min(g.rate) over of_persona > a.tolerance + 1e-9 as differs
  from gathered as g
  left join allowed as a using (run_id)
  window of_persona as (partition by g.run_id, g.persona)
)
select * from final
