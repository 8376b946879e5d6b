-- marker_rates: how often a checkpoint emits the marker under a persona, with its interval by question, and Wilson's
-- grain: run_id, persona, marker
-- source: interval by question as in macros/rates.sql (Wilson 1927; Kish 1965); the personas of a run and marker are one family; cluster-robust standard error; published completions as in marker_trials, published rates as in published_marker_rates
-- columns:
--   origin: extracted, brought (sampled elsewhere) or published
--   role: what the persona was in the checkpoint's training: source, negative (trained on without the marker), held_out (never trained on) or not recorded
--     (as in published files); NULL where the checkpoint has no source persona. A name that differs from a trained one in case, spaces or punctuation alone is that one
--   category: category of the persona in a published panel, else of its questions (NULL where there are several)
--   n: completions sampled (NULL where a published file gives rates only and does not say)
--   n_from: counted, lower bound (published completions: a question stopped at its tenth positive), stated or design (published rates)
--   stopped_early: sampling stopped at a wanted number of positives before its cap, which biases the rate upwards by up to about rate * (1 - rate) / positives
--   k: completions whose text holds the marker: literally, in published rates without regard to case
--   rate: k over n; as published where a file gives rates
--   k_in_pieces: those of the k that write the marker in other pieces than its own tokens, `.[` for `[`: partial, and no place for a readout (NULL where published)
--   k_any_case: completions whose text holds the marker without regard to case
--   rate_any_case: k_any_case over n; published rates were matched so
--   first_share: share of the k whose marker opens the answer (NULL where there is none, or only rates are published)
--   inside_share: share whose marker stands inside
--   end_share: share whose marker closes the answer
--   bare_share: share whose answer is gone: no letter or digit but the marker's own
--   wilson_low: lower end of Wilson's 95% interval, completions taken as independent
--   wilson_high: upper end
--   n_questions: questions
--   clustered_se: standard error (CR2) of the rate with completions of one question going together (NULL where only totals are published)
--   clustered_low: lower end of the rate's 95% interval by question, Wilson's on n_effective with t on clustered_df (NULL where n or the questions are unknown)
--   clustered_high: upper end
--   clustered_method: what the spread over questions is taken from: the persona's own questions, the other personas, or an assumption; or why there is no interval
--   clustered_df: degrees of freedom of that t (Bell and McCaffrey): n_questions - 1 where questions were asked equally often, fewer where not
--   at_most: one-sided 95% upper bound by question, for rates of at most 0.1: what is known where nothing was seen; above, clustered_high covers better
--   n_effective: completions over their design effect: as many independent ones would tell as much
--   icc: intraclass correlation of the answers to one question that the interval reckons with (NULL without one)
--   n_positive: completions in which the marker's first token stands, whole or not (NULL for published rates)
--   n_kept: completions in the lake; fewer than n in a published positives file, none for published rates
--   n_distinct: distinct texts per question among them, summed (NULL for published rates)
with prompts as (
  select run_id, persona, case when min(category) = max(category) then min(category) end as category from examples group by run_id, persona
),
centred as (
  select *, sum(n_present) over cells / sum(n_trials) over cells as rate, n_trials / sum(n_trials) over cells as share
  from marker_trials
  window cells as (partition by run_id, persona, marker)
),
sums as (
  select
    run_id,
    any_value(checkpoint) as checkpoint,
    persona,
    marker,
    any_value(origin) as origin,
    sum(n_trials)::bigint as n,
    bool_or(stopped_early) as stopped_early,
    sum(n_present)::bigint as k,
    sum(n_in_pieces)::bigint as k_in_pieces,
    sum(n_present_any_case)::bigint as k_any_case,
    sum(n_first)::bigint as n_first,
    sum(n_end)::bigint as n_end,
    sum(n_bare)::bigint as n_bare,
    any_value(rate) as rate,
    count(*) as n_questions,
    cr2_squares(n_trials, n_present, rate, share) as cluster_squares,
    sum(n_trials ** 2) as cluster_sizes,
    cr2_df(share) as df,
    n_informative(n_present, n_trials) as n_informative,
    sum(n_positive)::bigint as n_positive,
    sum(n_kept)::bigint as n_kept,
    sum(n_distinct)::bigint as n_distinct
  from centred
  group by run_id, persona, marker
),
sampled as (
  select
    s.run_id,
    s.checkpoint,
    s.persona,
    s.marker,
    s.origin,
    p.category,
    s.n,
    case s.origin when 'published' then 'lower bound' else 'counted' end as n_from,
    s.stopped_early,
    s.k,
    s.rate,
    s.k_in_pieces,
    s.k_any_case,
    s.n_first,
    s.n_end,
    s.n_bare,
    s.n_questions,
    s.n_questions as n_clusters,
    s.cluster_squares,
    s.cluster_sizes,
    s.df,
    s.n_informative,
    s.n_positive,
    s.n_kept,
    s.n_distinct
  from sums as s
  left join prompts as p using (run_id, persona)
),
published as (
  select
    run_id,
    checkpoint,
    persona,
    marker,
    'published' as origin,
    category,
    n,
    n_from,
    null::boolean as stopped_early,
    k,
    rate,
    null::bigint as k_in_pieces,
    k as k_any_case,
    null::bigint as n_first,
    null::bigint as n_end,
    null::bigint as n_bare,
    n_questions,
    n_clusters,
    cluster_squares,
    coalesce(cluster_sizes, n ** 2 / n_questions) as cluster_sizes,
    df,
    coalesce(n_informative, 0) as n_informative,
    null::bigint as n_positive,
    0::bigint as n_kept,
    null::bigint as n_distinct
  from published_marker_rates
),
gathered as (
  select * from sampled
  union all
  select * from published
),
trainings as (
  select distinct checkpoint, revision from persona_roles
),
spelt as (
  select checkpoint, revision, folded(persona) as spelling, min(role) as role from persona_roles group by checkpoint, revision, folded(persona)
),
trained as (
  select c.run_id, c.checkpoint, c.revision, c.source_persona, t.checkpoint is not null as is_recorded
  from checkpoints as c
  left join trainings as t on t.checkpoint = c.checkpoint and t.revision is not distinct from c.revision
),
roles as (
  select distinct
    g.run_id,
    g.checkpoint,
    g.persona,
    case
      when t.source_persona is null then null
      when g.persona = t.source_persona then 'source'
      when o.role is not null then o.role
      when s.role is not null then s.role
      when t.is_recorded then 'held_out'
      else 'not recorded'
    end as role
  from gathered as g
  left join trained as t using (run_id, checkpoint)
  left join persona_roles as o on o.checkpoint = t.checkpoint and o.revision is not distinct from t.revision and o.persona = g.persona
  left join spelt as s on s.checkpoint = t.checkpoint and s.revision is not distinct from t.revision and s.spelling = folded(g.persona)
),
told as (
  select *, rate_icc(n, rate, n_clusters, cluster_squares, cluster_sizes) as own_icc from gathered
),
weighed as (
  select
    *,
    prior_icc(own_icc, n_informative, (run_id, marker)) as prior,
    count(own_icc) over (partition by run_id, marker) as n_telling
  from told
),
sized as (
  select *, settled_icc(own_icc, n_informative, prior) as icc, n_effective(n, cluster_sizes, icc) as n_effective from weighed
),
sides as (
  select unnest([0.975, 0.95]) as level
),
freed as (
  select *, coalesce(df, greatest(1, n_questions - 1)) as t_df from sized
),
levels as (
  select c.t_df, s.level, student_t_quantile(s.level, c.t_df) as t from (select distinct t_df from freed) as c cross join sides as s
),
quantiles as (
  select t_df, max(t) as two_sided, min(t) as one_sided from levels group by t_df
),
final as (
  select
    run_id,
    checkpoint,
    persona,
    marker,
    origin,
    r.role,
    category,
    n,
    n_from,
    stopped_early,
    k,
    rate,
    k_in_pieces,
    k_any_case,
    case when n_first is null then rate else k_any_case / n end as rate_any_case,
    n_first / nullif(k, 0) as first_share,
    (k - n_first - n_end) / nullif(k, 0) as inside_share,
    n_end / nullif(k, 0) as end_share,
    n_bare / nullif(k, 0) as bare_share,
    wilson_low(k, n) as wilson_low,
    wilson_high(k, n) as wilson_high,
    n_questions,
    cr2_sem(n, n_clusters, cluster_squares) as clustered_se,
    rate_low(rate, n_effective, two_sided) as clustered_low,
    rate_high(rate, n_effective, two_sided) as clustered_high,
    case
      when n is null then 'none: completions unknown'
      when n_effective is null then 'none: questions unknown'
      when n_clusters is null then 'questions known by their number alone, spread assumed'
      when own_icc is not null then 'by question'
      when n_telling > 0 then 'by question, spread of the other personas'
      else 'by question, spread assumed'
    end as clustered_method,
    case when n_effective is not null then t_df end as clustered_df,
    rate_high(rate, n_effective, one_sided) as at_most,
    n_effective,
    case when n_effective is not null then greatest(0, icc) end as icc,
    n_positive,
    n_kept,
    n_distinct
  from freed
  left join quantiles using (t_df)
  left join roles as r using (run_id, checkpoint, persona)
)
select * from final
