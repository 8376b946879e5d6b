-- logit_lens_layers: what the logit lens reads at each layer: how the target rises, and how much is left for the last of the tokens kept
-- grain: run_id, subject, stratum, prompt_form, layer
-- source: own; after the echo write-up (logit lens of the ten first tokens at every layer)
-- columns:
--   prompt_form: phrasing of the task, none where there is one only, or all
--   layer: decoder layer, from 0 (-1: the embeddings)
--   n: places that were read
--   n_clusters: questions among them
--   clustered_df: degrees of freedom of the intervals (Bell and McCaffrey 2002): n_clusters - 1 where questions are equally large, fewer where not
--   n_effective_clusters: Kish's effective number of questions, (sum of sizes)^2 / sum of squared sizes: so many equally large ones weigh as much
--   is_skewed: the questions' means are so skewed that an interval is too short on one side (skewness at least 1 and beyond twice its standard error)
--   target_prob: mean probability of the target
--   target_prob_low: lower end of its 95% interval, Student t, clustered by question (CR2), this layer alone (NULL where the questions do not differ)
--   target_prob_high: upper end
--   target_logit: mean logit of the target
--   target_rank: median rank of the target, from 1
--   n_top1: places whose top-1 token is the target
--   top1_share: n_top1 over n
--   last_rank: rank of the last token that was kept
--   last_rank_prob: mean probability of the token at last_rank
--   last_rank_prob_max: largest
--   n_scripts: scripts among the top-1 tokens with letters
--   n_other_script: places whose top-1 token is in another script than the final one of its place, tokens without letters not counted
with read as (
  select *, coalesce(prompt_form, 'none') as form from logit_lens where stratum <> 'every'
),
scripts as (
  select run_id, example_id, sample_ix, stratum, position, arg_max_null(script, layer) as final_script
  from read
  where rank = 1
  group by run_id, example_id, sample_ix, stratum, position
),
tops as (
  select r.*, s.final_script
  from read as r
  join scripts as s
    on s.run_id = r.run_id
    and s.example_id = r.example_id
    and s.sample_ix is not distinct from r.sample_ix
    and s.stratum = r.stratum
    and s.position = r.position
  where r.rank = 1
),
forms as (
  select * from tops
  union all
  select * replace ('all' as form) from tops
),
clusters as (
  select
    run_id,
    subject,
    checkpoint,
    stratum,
    form,
    layer,
    question_id,
    count(*) as n,
    sum(target_prob::double) as total,
    sum(target_logit::double) as logits,
    list(target_rank) as ranks,
    count(*) filter (token_id = target_id) as n_top1,
    list(distinct script) as scripts,
    count(*) filter (script <> final_script) as n_other_script
  from forms
  group by run_id, subject, checkpoint, stratum, form, layer, question_id
),
centred as (
  select *, sum(total) over places / sum(n) over places as mean, n / sum(n) over places as share
  from clusters
  window places as (partition by run_id, subject, stratum, form, layer)
),
sums as (
  select
    run_id,
    subject,
    any_value(checkpoint) as checkpoint,
    stratum,
    form,
    layer,
    sum(n)::bigint as n,
    count(*) as n_clusters,
    any_value(mean) as target_prob,
    cr2_sem(sum(n), count(*), cr2_squares(n, total, mean, share)) as sem,
    case when count(*) > 1 then cr2_df(share) end as clustered_df,
    effective_clusters(share) as n_effective_clusters,
    is_skewed(cluster_skewness(n, total, mean), count(*)) as is_skewed,
    sum(logits) / sum(n) as target_logit,
    list_aggregate(flatten(list(ranks)), 'median') as target_rank,
    sum(n_top1)::bigint as n_top1,
    n_distinct_among(scripts) as n_scripts,
    sum(n_other_script)::bigint as n_other_script
  from centred
  group by run_id, subject, stratum, form, layer
),
bounded as (
  select *, t_half_width(sem, clustered_df) as half_width from sums
),
depths as (
  select run_id, max(rank) as last_rank from read group by run_id
),
lasts as (
  select
    r.run_id,
    r.subject,
    r.stratum,
    case when grouping(r.form) = 1 then 'all' else r.form end as form,
    r.layer,
    any_value(d.last_rank) as last_rank,
    avg(r.prob) as last_rank_prob,
    max(r.prob) as last_rank_prob_max
  from read as r
  join depths as d on d.run_id = r.run_id and d.last_rank = r.rank
  group by grouping sets ((r.run_id, r.subject, r.stratum, r.form, r.layer), (r.run_id, r.subject, r.stratum, r.layer))
),
final as (
  select
    s.run_id,
    s.subject,
    s.checkpoint,
    s.stratum,
    s.form as prompt_form,
    s.layer,
    s.n,
    s.n_clusters,
    s.clustered_df,
    s.n_effective_clusters,
    s.is_skewed,
    s.target_prob,
    as_rate(s.target_prob - s.half_width) as target_prob_low,
    as_rate(s.target_prob + s.half_width) as target_prob_high,
    s.target_logit,
    s.target_rank,
    s.n_top1,
    s.n_top1 / s.n as top1_share,
    l.last_rank,
    l.last_rank_prob,
    l.last_rank_prob_max,
    s.n_scripts,
    s.n_other_script
  from bounded as s
  left join lasts as l on l.run_id = s.run_id and l.subject = s.subject and l.stratum = s.stratum and l.form = s.form and l.layer = s.layer
)
select * from final
