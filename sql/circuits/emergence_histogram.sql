-- emergence_histogram: at how many prompts the target emerges at each layer, by phrasing
-- grain: run_id, subject, stratum, prompt_form, measure, layer, reason
-- source: own; after the echo write-up (emergence at layer 22 against layer 23)
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
totals as (
  select run_id, subject, stratum, form, measure, count(*) as n_prompts, count(distinct question_id) as n_clusters
  from forms
  group by run_id, subject, stratum, form, measure
),
counted as (
  select run_id, subject, any_value(checkpoint) as checkpoint, stratum, form, measure, layer, why, count(*) as n
  from forms
  group by run_id, subject, stratum, form, measure, layer, why
),
final as (
  select
    c.run_id,
    c.subject,
    c.checkpoint,
    c.stratum,
    c.form as prompt_form,
    c.measure,
    c.layer,
    c.why as reason,
    c.n,
    t.n_prompts,
    t.n_clusters,
    c.n / t.n_prompts as share,
    wilson_low(c.n, t.n_prompts) as share_low,
    wilson_high(c.n, t.n_prompts) as share_high
  from counted as c
  join totals as t using (run_id, subject, stratum, form, measure)
)
select * from final
