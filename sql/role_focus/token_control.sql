-- token_control: does entropy differ between the first and the last positions of a prompt alone? The control of position for every comparison of categories
-- grain: run_id, category, layer
-- source: own; after the first-against-last figures of mduffster/self-referent-test
-- columns:
--   form: raw or chat; the two are never compared
--   n: prompts
--   first_three: mean over prompts of the entropy at the first three positions, mean over heads, nats
--   last_three: at the last three
--   difference: last minus first, mean over prompts
--   low: lower end of its 95% interval, Student t over prompts (NULL where prompts do not vary)
--   high: upper end
--   first_three_neutral: first_three of the neutral prompts; nearly the same in all categories, since the first tokens hardly tell them apart
--   last_three_neutral: last_three of the neutral prompts
with prompts as (
  select * from entropy_mean where category is not null
),
summed as (
  select
    run_id,
    subject,
    checkpoint,
    prompt_set,
    form,
    category,
    layer,
    count(*) as n,
    avg(first_three) as first_three,
    avg(last_three) as last_three,
    avg(last_three - first_three) as difference,
    stddev_samp(last_three - first_three) / sqrt(count(*)) as sem
  from prompts
  group by all
),
bounded as (
  select *, half_width(sem, n) as half_width from summed
),
final as (
  select
    s.run_id,
    s.subject,
    s.checkpoint,
    s.prompt_set,
    s.form,
    s.category,
    s.layer,
    s.n,
    s.first_three,
    s.last_three,
    s.difference,
    s.difference - s.half_width as low,
    s.difference + s.half_width as high,
    o.first_three as first_three_neutral,
    o.last_three as last_three_neutral
  from bounded as s
  left join summed as o on o.run_id = s.run_id and o.layer = s.layer and o.category = 'neutral'
)
select * from final
