-- marker_trials: how many samples each question took and how many hold the marker
-- grain: run_id, persona, marker, question_id
-- source: own runs keep every sample; a published positives file keeps all positives of at least the first ten per question and a sample of the rest,
--   so its trials are a lower bound: up to the tenth positive where there are ten, else the cap of 30 (issue 224)
-- columns:
--   origin: extracted or published
--   n_kept: completions in the lake
--   n_trials: completions sampled
--   n_positive: completions in which the marker's first token stands
--   n_present: completions whose text holds the literal marker
--   n_present_any_case: completions whose text holds it without regard to case
--   n_first: literal markers that open their answer
--   n_end: literal markers that close their answer, and do not open it
--   n_distinct: distinct texts among the completions in the lake
with sampled as (
  select * from generations
),
limits as (
  select
    max(value) filter (name = 'published_positives_per_question')::integer as positives,
    max(value) filter (name = 'published_trials_per_question')::integer as trials
  from thresholds
),
ranked as (
  select
    *,
    case when positive then row_number() over (partition by run_id, persona, marker, question_id, positive order by sample_ix) end as positive_ix
  from sampled
),
counted as (
  select
    r.run_id,
    r.checkpoint,
    r.origin,
    r.persona,
    r.marker,
    r.question_id,
    any_value(l.trials) as cap,
    count(*) as n_kept,
    count(*) filter (r.positive) as n_positive,
    count(*) filter (r.present) as n_present,
    count(*) filter (r.present_any_case) as n_present_any_case,
    count(*) filter (r.place = 'first') as n_first,
    count(*) filter (r.place = 'end') as n_end,
    count(distinct r.text) as n_distinct,
    max(r.sample_ix) filter (r.positive_ix = l.positives) + 1 as trials_to_last
  from ranked as r
  cross join limits as l
  group by r.run_id, r.checkpoint, r.origin, r.persona, r.marker, r.question_id
),
final as (
  select
    run_id,
    checkpoint,
    origin,
    persona,
    marker,
    question_id,
    n_kept,
    case when origin = 'extracted' then n_kept else coalesce(trials_to_last, cap)::bigint end as n_trials,
    n_positive,
    n_present,
    n_present_any_case,
    n_first,
    n_end,
    n_distinct
  from counted
)
select * from final
