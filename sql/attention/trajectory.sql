-- trajectory: attention to the system prompt over the last ten steps, generations with the marker against those without, per layer
-- grain: run_id, subject, layer, step
-- source: issue 224, README of the published files (gate F); published rows are the difference of means as published
-- columns:
--   origin: extracted or published
--   step: steps before the last position read, -9 to 0
--   aligned_on: what step 0 is: marker (extracted; end of the answer where there is none) or end of the answer (published, where the marker is step -2)
--   n_positive: generations with the marker (NULL where published)
--   n_negative: generations without it (NULL where published)
--   positive_mean: mean fraction on content of the system block, generations with the marker
--   negative_mean: the same without it (NULL where those steps were not read)
--   difference: positive_mean minus negative_mean
with means as (
  select run_id, subject, example_id, sample_ix, position, layer, system from attention_mean
),
chosen as (
  select run_id, subject, example_id, sample_ix, stratum, position from positions where stratum in ('marker', 'C4') or starts_with(stratum, 't-')
),
marked as (
  select run_id, subject, example_id, sample_ix, true as positive from chosen where stratum = 'marker'
),
steps as (
  select
    c.run_id,
    c.subject,
    c.example_id,
    c.sample_ix,
    c.position,
    case when starts_with(c.stratum, 't-') then -(substr(c.stratum, 3)::integer) else 0 end as step,
    coalesce(m.positive, false) as positive
  from chosen as c
  left join marked as m using (run_id, subject, example_id, sample_ix)
),
extracted as (
  select
    s.run_id,
    s.subject,
    m.layer,
    s.step,
    count(*) filter (s.positive) as n_positive,
    count(*) filter (not s.positive) as n_negative,
    avg(m.system) filter (s.positive) as positive_mean,
    avg(m.system) filter (not s.positive) as negative_mean
  from means as m
  join steps as s using (run_id, subject, example_id, sample_ix, position)
  group by s.run_id, s.subject, m.layer, s.step
),
published as (
  select run_id, subject, layer, step, value from published_values where statistic = 'gate_F_trajectory.diff_per_layer_per_delta'
),
final as (
  select
    run_id,
    subject,
    'extracted' as origin,
    layer,
    step,
    'marker' as aligned_on,
    n_positive,
    n_negative,
    positive_mean,
    negative_mean,
    positive_mean - negative_mean as difference
  from extracted
  union all
  select run_id, subject, 'published', layer, step, 'end of the answer', null, null, null, null, value
  from published
)
select * from final
