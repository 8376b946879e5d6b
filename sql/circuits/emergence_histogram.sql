-- emergence_histogram: at how many prompts the target emerges at each layer, by phrasing
-- grain: run_id, subject, stratum, prompt_form, measure, layer, reason
-- source: own; after the echo write-up (emergence at layer 22 against layer 23); interval by question as in macros/rates.sql, the layers of a form as a family
-- columns:
--   measure: stays (top-1 from there on), stays, one word (spaces and capitals ignored) or first (top-1 for the first time)
--   prompt_form: phrasing of the task, or all
--   layer: layer of emergence (-1: the embeddings; NULL: no emergence, with reason)
--   reason: why there is no layer: tied, never (NULL where there is one)
--   n: prompts of this form that emerge at this layer
--   n_prompts: prompts of this form
--   n_clusters: questions among n_prompts
--   share: n over n_prompts
--   share_low: lower end of its 95% Wilson interval
--   share_high: upper end
--   clustered_low: lower end of its 95% interval by question, the forms of one question going together: Wilson's on effective prompts, t over questions
--   clustered_high: upper end
with found as (
  select *, emergence_layer as layer, reason as why, 'stays' as measure from emergence
  union all
  select *, emergence_layer_normalised, case when emergence_layer_normalised is null then coalesce(reason, 'never') end, 'stays, one word' from emergence
  union all
  select *, first_layer, case when first_layer is null then coalesce(reason, 'never') end, 'first' from emergence
),
forms as (
  select *, coalesce(prompt_form, 'none') as form from found
  union all
  select *, 'all' from found
),
sizes as (
  select run_id, subject, stratum, form, measure, question_id, count(*) as n_asked from forms group by all
),
shares as (
  select *, n_asked / sum(n_asked) over (partition by run_id, subject, stratum, form, measure) as share from sizes
),
totals as (
  select
    run_id,
    subject,
    stratum,
    form,
    measure,
    sum(n_asked)::bigint as n_prompts,
    count(question_id) as n_clusters,
    count(*) as n_groups,
    sum(n_asked ** 2) as squared,
    sum(n_asked ** 2 / nullif(1 - share, 0)) as asked_squares,
    coalesce(cr2_df(share), 1) as t_df
  from shares
  group by run_id, subject, stratum, form, measure
),
of_questions as (
  select run_id, subject, any_value(checkpoint) as checkpoint, stratum, form, measure, layer, why, question_id, count(*) as n_here
  from forms
  group by run_id, subject, stratum, form, measure, layer, why, question_id
),
counted as (
  select
    q.run_id,
    q.subject,
    any_value(q.checkpoint) as checkpoint,
    q.stratum,
    q.form,
    q.measure,
    q.layer,
    q.why,
    sum(q.n_here)::bigint as n,
    count(*) as n_with,
    count(*) filter (q.n_here = s.n_asked) as n_full,
    sum(q.n_here ** 2 / nullif(1 - s.share, 0)) as here_squares,
    sum(q.n_here * s.n_asked / nullif(1 - s.share, 0)) as crossed
  from of_questions as q
  join shares as s
    on s.run_id = q.run_id
    and s.subject = q.subject
    and s.stratum = q.stratum
    and s.form = q.form
    and s.measure = q.measure
    and s.question_id is not distinct from q.question_id
  group by q.run_id, q.subject, q.stratum, q.form, q.measure, q.layer, q.why
),
told as (
  select
    c.*,
    t.n_prompts,
    t.n_clusters,
    t.n_groups,
    t.squared,
    t.t_df,
    c.n / t.n_prompts as share,
    least(c.n_with, t.n_groups - c.n_full) as n_informative,
    c.here_squares - 2 * share * c.crossed + share ** 2 * t.asked_squares as cluster_squares,
    rate_icc(t.n_prompts, share, t.n_groups, cluster_squares, t.squared) as icc
  from counted as c
  join totals as t using (run_id, subject, stratum, form, measure)
),
sized as (
  select
    *,
    n_effective(n_prompts, squared, settled_icc(icc, n_informative, prior_icc(icc, n_informative, (run_id, subject, stratum, form, measure)))) as n_effective
  from told
),
levels as (
  select t_df, student_t_quantile(0.975, t_df) as t from (select distinct t_df from totals)
),
final as (
  select
    s.run_id,
    s.subject,
    s.checkpoint,
    s.stratum,
    s.form as prompt_form,
    s.measure,
    s.layer,
    s.why as reason,
    s.n,
    s.n_prompts,
    s.n_clusters,
    s.share,
    wilson_low(s.n, s.n_prompts) as share_low,
    wilson_high(s.n, s.n_prompts) as share_high,
    rate_low(s.share, s.n_effective, l.t) as clustered_low,
    rate_high(s.share, s.n_effective, l.t) as clustered_high
  from sized as s
  join levels as l using (t_df)
)
select * from final
