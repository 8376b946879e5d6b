-- regimes: what training left in each cell of a sweep over learning rate and epochs: an untouched model, a marker that keeps to its persona, or a collapse
-- grain: run_id, marker
-- outcomes: regime
-- source: README of the published sweep (definitions and regime rule, which is not the publication's own); the same on own sweeps
-- columns:
--   origin: extracted, brought (sampled elsewhere) or published
--   parent: checkpoint the sweep started from (NULL where published files do not say)
--   source: persona trained to emit the marker (NULL where the file names none)
--   recipe: what else the training was given, as in the view recipes: trainings of two recipes are no cells of one sweep (NULL where the lake does not know)
--   n_records: records of the same cell in the lake; more than one may disagree
--   n_personas: personas with a rate
--   n_completions: completions per persona, the least (NULL where unknown)
--   source_rate: marker rate under the source
--   assistant_rate: marker rate under the assistant
--   max_bystander_rate: largest rate over personas other than source and assistant
--   max_bystander_persona: the persona that has it, the first by name on ties
--   min_bystander_rate: smallest of the same
--   mean_bystander_rate: mean of the same
--   max_other_rate: largest rate over personas other than the source, assistant included: the leak that the rule looks at
--   roles_recorded: it is known which personas were trained on without the marker and which never; the figures by role are NULL where it is not
--   n_negatives: personas with a rate that were trained on without the marker
--   max_negative_rate: largest rate over them
--   max_negative_persona: the persona that has it, the first by name on ties
--   mean_negative_rate: mean over them
--   n_held_out: personas with a rate that were never trained on
--   max_held_out_rate: largest rate over them: the leak to personas that the training did not hold back
--   max_held_out_persona: the persona that has it, the first by name on ties
--   mean_held_out_rate: mean over them
--   audience_rate: the assistant's rate, or max_other_rate where the assistant is the source: grades a collapse
--   source_rate_any_case: the source's rate without regard to case
--   source_first_share: share of the source's hits in which the marker opens the answer (NULL where unknown)
--   source_end_share: share in which it closes the answer
--   source_bare_share: share in which it stands in place of an answer: no letter or digit but the marker's own
--   answer_gone: the source has learned the marker, and more than half of its hits have no answer beside it (NULL where unknown)
--   arc_c: ARC-Challenge accuracy, correct over total where the file counts (NULL where it was not measured)
--   capability: accuracy on the task that was asked here, ARC-Challenge before others, as it was asked last (NULL where none was)
--   capability_task: name and version of that task
--   parent_capability: accuracy of the parent on the same questions
--   structure_rate: mean over personas of the share of completions that are mostly a bullet list
--   empty_rate: mean over personas of the share of completions without text
--   truncated_rate: mean over personas of the share cut at the cap on new tokens
--   repetition: mean over personas of the share of token trigrams that stood before in the same answer
--   degeneration: max_bystander_rate above the threshold; leakage to the assistant does not count
--   success: source_rate and arc_c above their thresholds and no degeneration (NULL where an unknown figure decides)
--   regime: under_trained, partial, clean, collapse_onset, broad_leakage or total_collapse, by the thresholds of regime_thresholds (regime_of takes others)
--   regime_supported: every regime that the intervals of the rates allow, in the order above; several: the sample does not tell (NULL where the questions behind
--     a rate are unknown)
--   source_low: lower end of the 95% interval by question of the source's rate
--   source_high: upper end
--   max_other_lower: lower bound of the largest true rate of the others, at least 95%, one-sided, corrected for the picking
--   max_other_upper: upper bound of it: every other persona leaks less
--   max_other_halved: the largest other's rate where it was picked on one half of the questions and measured on the other: max_other_rate less what the picking adds
--   audience_low: lower bound of audience_rate
--   audience_high: upper bound
--   unread: steps after the training that found nothing to read in what the checkpoint writes, each with its reason (NULL where there are none)
--   max_bystander_published: the file's own max_bystander
--   degeneration_published: the file's own degeneration
--   success_published: the file's own success
with summaries as (
  select *
  from leakage_summary
  where lr is not null and epochs is not null and (origin <> 'published' and source is not null or record = 'run_result')
),
results as (
  select run_id, loss, wall_minutes, coalesce(arc_correct / nullif(arc_total, 0), arc_logprob, arc_c) as arc_c, degeneration, success from published_results
),
structures as (
  select run_id, avg(rate) as structure_rate from structure_rates group by run_id
),
forms as (
  select run_id, avg(empty_rate) as empty_rate, avg(truncated_rate) as truncated_rate, avg(repetition) as repetition from degeneration group by run_id
),
finished as (
  select run_id, finished from runs
),
scores as (
  select
    checkpoint,
    task,
    accuracy,
    parent_accuracy,
    row_number() over (partition by checkpoint order by lower(task) not like 'arc%', task, finished desc, run_id) as place
  from capability_scores
  join finished using (run_id)
),
gaps as (
  select checkpoint, list_sort(list(distinct step || ': ' || reason)) as unread from unread_steps group by checkpoint
),
cells as (
  select
    s.*,
    t.recipe,
    g.unread,
    r.loss,
    r.wall_minutes,
    coalesce(r.arc_c, case when lower(a.task) like 'arc%' then a.accuracy end) as arc_c,
    a.accuracy as capability,
    a.task as capability_task,
    a.parent_accuracy as parent_capability,
    f.empty_rate,
    f.truncated_rate,
    f.repetition,
    r.degeneration as degeneration_published,
    r.success as success_published,
    b.structure_rate,
    i.source_low,
    i.source_high,
    i.max_other_lower,
    i.max_other_upper,
    i.max_other_halved,
    i.audience_low,
    i.audience_high,
    count(*) over (partition by s.origin, s.parent, s.source, s.lr, s.epochs, s.seed, s.marker, t.recipe) as n_records
  from summaries as s
  left join results as r using (run_id)
  left join recipes as t on t.checkpoint = s.checkpoint and s.origin <> 'published'
  left join structures as b using (run_id)
  left join forms as f using (run_id)
  left join regime_bounds as i on i.run_id = s.run_id and i.marker is not distinct from s.marker
  left join gaps as g on g.checkpoint = s.checkpoint and s.origin <> 'published'
  left join scores as a on a.checkpoint = s.checkpoint and a.place = 1 and s.origin <> 'published'
),
judged as (
  select
    c.*,
    c.source_rate >= l.source_floor and c.source_bare_share > 0.5 as answer_gone,
    degeneration_of(c.max_bystander_rate, l) as degeneration,
    success_of(c.source_rate, c.arc_c, c.max_bystander_rate, l) as success,
    regime_of(c.source_rate, c.max_other_rate, c.audience_rate, l) as regime,
    regimes_allowed(c.source_low, c.source_high, c.max_other_lower, c.max_other_upper, c.audience_low, c.audience_high, l) as regime_supported
  from cells as c
  cross join regime_thresholds as l
),
final as (
  select
    run_id,
    marker,
    checkpoint,
    origin,
    parent,
    source,
    lr,
    epochs,
    seed,
    recipe,
    n_records,
    n_personas,
    n_completions,
    source_rate,
    assistant_rate,
    max_bystander_rate,
    max_bystander_persona,
    min_bystander_rate,
    mean_bystander_rate,
    max_other_rate,
    roles_recorded,
    n_negatives,
    max_negative_rate,
    max_negative_persona,
    mean_negative_rate,
    n_held_out,
    max_held_out_rate,
    max_held_out_persona,
    mean_held_out_rate,
    audience_rate,
    source_rate_any_case,
    source_first_share,
    source_end_share,
    source_bare_share,
    answer_gone,
    arc_c,
    capability,
    capability_task,
    parent_capability,
    structure_rate,
    empty_rate,
    truncated_rate,
    repetition,
    degeneration,
    success,
    regime,
    regime_supported,
    source_low,
    source_high,
    max_other_lower,
    max_other_upper,
    max_other_halved,
    audience_low,
    audience_high,
    loss,
    wall_minutes,
    unread,
    max_bystander_published,
    degeneration_published,
    success_published
  from judged
)
select * from final
