-- marker_trials: how many samples each question took and how many hold the marker
-- grain: run_id, persona, marker, question_id
-- source: own runs keep every sample; a published positives file keeps all positives of at least the first ten per question and a sample of the rest,
--   so its trials are a lower bound: up to the tenth positive where there are ten, else the cap of 30 (issue 224)
-- columns:
--   origin: extracted, brought (sampled elsewhere) or published
--   n_kept: completions in the lake
--   n_trials: completions sampled
--   stopped_early: sampling stopped at a wanted number of positives before its cap on trials, which raises the expected rate by up to about rate * (1 - rate) / positives
--   n_positive: completions in which the marker's first token stands
--   n_present: completions whose text holds the literal marker
--   n_in_pieces: literal markers written in other pieces than the marker's own tokens (NULL for published completions)
--   n_present_any_case: completions whose text holds it without regard to case
--   n_first: literal markers that open their answer
--   n_end: literal markers that close their answer, and do not open it
--   n_bare: literal markers that stand in place of an answer
--   n_distinct: distinct texts among the completions in the lake
with caps as (
  select run_id, try_cast(value as integer) as trials from parameters where name = 'trials'
),
rounds as (
  select run_id, persona, max(last_sample) + 1 as n_rounds from marker_counts group by run_id, persona
),
made as (
  select run_id, kind, extractor from runs
),
limits as (
  select
    max(value) filter (name = 'published_positives_per_question')::integer as positives,
    max(value) filter (name = 'published_trials_per_question')::integer as trials
  from thresholds
),
final as (
  select
    c.run_id,
    c.checkpoint,
    origin_of(m.kind, m.extractor) as origin,
    c.persona,
    c.marker,
    c.question_id,
    c.n_kept,
    case m.kind when 'ingest' then coalesce(c.positive_samples[l.positives] + 1, l.trials)::bigint else c.n_kept end as n_trials,
    case m.kind when 'ingest' then c.positive_samples[l.positives] is not null else coalesce(r.n_rounds < p.trials, false) end as stopped_early,
    c.n_positive,
    c.n_present,
    case m.kind when 'ingest' then null else c.n_in_pieces end as n_in_pieces,
    c.n_present_any_case,
    c.n_first,
    c.n_end,
    c.n_bare,
    c.n_distinct
  from marker_counts as c
  join made as m using (run_id)
  left join rounds as r using (run_id, persona)
  left join caps as p using (run_id)
  cross join limits as l
)
select * from final
