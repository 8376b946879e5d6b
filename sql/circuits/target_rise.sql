-- target_rise: how the target rises through the layers: median over words of its rank and of its probability in the logit lens, each with an interval
-- grain: run_id, subject, stratum, prompt_form, layer
-- source: own; the layer at which a token becomes top-1 (emergence) may lie far behind the one that writes it, where its rank falls from thousands to hundreds
-- columns:
--   prompt_form: phrasing of the task, none where there is one only, or all
--   layer: decoder layer, from 0 (-1: the embeddings)
--   n: places that were read
--   n_clusters: words or questions among them: of several places of one, their median is one value
--   rank: median over words of the target's rank, from 1
--   rank_low: lower end of its interval, a value that occurs (NULL with fewer than six words)
--   rank_high: upper end
--   prob: median over words of the target's probability
--   prob_low: lower end of its interval, likewise
--   prob_high: upper end
--   n_top1: places at which no token is likelier than the target
--   coverage: probability that such an interval holds the median, at least 0.95, this layer alone
--   method: how the intervals were made
with tops as (
  select * from logit_lens where rank = 1 and stratum <> 'every'
),
forms as (
  select *, coalesce(prompt_form, 'none') as form from tops
  union all
  select *, 'all' from tops
),
words as (
  select
    run_id,
    subject,
    any_value(checkpoint) as checkpoint,
    stratum,
    form,
    layer,
    question_id,
    count(*) as n,
    count(*) filter (target_rank = 1) as n_top1,
    median(target_rank) as rank,
    median(target_prob::double) as prob
  from forms
  group by run_id, subject, stratum, form, layer, question_id
),
medians as (
  select
    run_id,
    subject,
    any_value(checkpoint) as checkpoint,
    stratum,
    form,
    layer,
    sum(n)::bigint as n,
    count(*) as n_clusters,
    sum(n_top1)::bigint as n_top1,
    median(rank) as rank,
    median(prob) as prob,
    list(rank) as ranks,
    list(prob) as probs
  from words
  group by run_id, subject, stratum, form, layer
),
places as (
  select n_clusters, median_place(n_clusters) as place, median_coverage(n_clusters) as coverage from (select distinct n_clusters from medians)
),
final as (
  select
    m.run_id,
    m.subject,
    m.checkpoint,
    m.stratum,
    m.form as prompt_form,
    m.layer,
    m.n,
    m.n_clusters,
    m.rank,
    median_low(m.ranks, p.place) as rank_low,
    median_high(m.ranks, p.place) as rank_high,
    m.prob,
    median_low(m.probs, p.place) as prob_low,
    median_high(m.probs, p.place) as prob_high,
    m.n_top1,
    p.coverage,
    case when p.place > 0 then 'order statistics of the words, binomial, no random draw' end as method
  from medians as m
  join places as p using (n_clusters)
)
select * from final
