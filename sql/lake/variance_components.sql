-- variance_components: how much of what is measured differs between questions and how much between samples of one question: what a plan of a study needs
-- grain: measure, run_id, base_run, persona, marker, layer, head
-- source: one-way analysis of variance by question, unequal sizes (Searle, Casella and McCulloch 1992): between = (MSB - MSW) / n0 with
--   n0 = (n - sum of squared sizes / n) / (n_clusters - 1); intraclass correlation = between / (between + within); both may fall below 0 by chance
-- columns:
--   measure: rate (a completion holds the marker: 0 or 1), attention (marker minus C1 on the system prompt, trained minus base on the same tokens) or head (nats
--     of the target's log-probability that are lost without the head, zero ablation)
--   run_id: run of the completions, of the trained checkpoint's attention, or of the ablations
--   base_run: run of the force-fed base (NULL but for attention)
--   persona: persona of the rate (NULL but for rates)
--   marker: marker whose rate it is (NULL but for rates)
--   n: completions, generations or prompts
--   n_clusters: questions
--   mean: their mean
--   between: variance between questions (NULL with one question, or where no question has two samples)
--   within: variance of samples within a question
--   icc: intraclass correlation: share of the variance that is between questions (NULL where nothing varies)
--   question_sd: standard deviation between questions of what a question's samples average: with one sample a question all that varies
with rates as (
  select
    'rate' as measure,
    run_id,
    null::varchar as base_run,
    checkpoint,
    persona,
    marker,
    null::integer as layer,
    null::integer as head,
    n_trials::double as n,
    n_present::double as total,
    n_present * (n_trials - n_present) / nullif(n_trials, 0)::double as squares
  from marker_trials
),
attention as (
  select
    'attention' as measure,
    trained_run as run_id,
    base_run,
    trained_subject as checkpoint,
    null::varchar as persona,
    null::varchar as marker,
    layer,
    null::integer as head,
    count(*)::double as n,
    sum(difference) as total,
    coalesce(var_pop(difference) * count(*), 0) as squares
  from paired_deltas
  where question_id is not null
  group by trained_run, base_run, trained_subject, layer, question_id
),
heads as (
  select
    'head' as measure,
    run_id,
    null::varchar as base_run,
    checkpoint,
    null::varchar as persona,
    null::varchar as marker,
    layer,
    head,
    count(*)::double as n,
    sum(nats_lost(base_prob, prob)) as total,
    coalesce(var_pop(nats_lost(base_prob, prob)) * count(*), 0) as squares
  from ablations
  where method = 'zero'
  group by run_id, checkpoint, layer, head, question_id
),
questions as (
  select * from rates
  union all
  select * from attention
  union all
  select * from heads
),
sums as (
  select
    measure,
    run_id,
    base_run,
    any_value(checkpoint) as checkpoint,
    persona,
    marker,
    layer,
    head,
    sum(n) as n,
    count(*) as n_clusters,
    sum(total) / sum(n) as mean,
    sum(total ** 2 / n) - sum(total) ** 2 / sum(n) as between_squares,
    sum(squares) as within_squares,
    (sum(n) - sum(n ** 2) / sum(n)) / nullif(count(*) - 1, 0) as n0,
    stddev_samp(total / n) as question_sd
  from questions
  where n > 0
  group by measure, run_id, base_run, persona, marker, layer, head
),
parts as (
  select *, within_squares / nullif(n - n_clusters, 0) as within, (between_squares / nullif(n_clusters - 1, 0) - within) / n0 as between from sums
),
final as (
  select
    measure,
    run_id,
    base_run,
    checkpoint,
    persona,
    marker,
    layer,
    head,
    n::bigint as n,
    n_clusters,
    mean,
    between,
    within,
    case when between + within > 0 then between / (between + within) end as icc,
    question_sd
  from parts
)
select * from final
