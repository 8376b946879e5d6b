-- ablation_effects: what changing one head does, beside the unchanged model on the same prompts: the target, the next token, what is said next, attention above
-- grain: run_id, layer, head, method, scale
-- source: own; intervals clustered by question (prompts of one question go together): CR2, Student t with Bell and McCaffrey's degrees of freedom (2002)
-- columns:
--   n: prompts
--   n_clusters: questions
--   clustered_df: degrees of freedom of the intervals (Bell and McCaffrey 2002): n_clusters - 1 where questions are equally large, fewer where not
--   n_effective_clusters: Kish's effective number of questions, (sum of sizes)^2 / sum of squared sizes: so many equally large ones weigh as much
--   is_skewed: the questions' means are so skewed that an interval is too short on one side (skewness at least 1 and beyond twice its standard error)
--   log_prob_change: mean change of the log-probability of the target, or of the unchanged model's first choice, nats (log_prob says how 0 is read)
--   log_prob_low: lower end of its 95% interval, clustered by question (NULL where questions do not vary)
--   log_prob_high: upper end
--   log_prob_sem: standard error of log_prob_change (CR2)
--   margin: changes within plus and minus this count as none, nats (thresholds: log_prob_margin)
--   equivalence_p: p of two one-sided t tests, clustered by question, that log_prob_change lies within the margin (Schuirmann 1987)
--   movement: equivalent (equivalence_p below 0.05: shown to lie within the margin), else moved (the interval leaves out 0; this head alone), else cannot tell
--   logit_change: mean change of the target's logit
--   kl: mean Kullback-Leibler divergence of the changed next-token distribution from the unchanged one: KL(unchanged ‖ changed), nats
--   share_flipped: share of prompts whose most likely token changes
--   n_generations: continuations compared (NULL where none were made)
--   share_same: share of continuations that stay the same token for token
--   mean_same_tokens: mean number of tokens shared from the start
--   nll_change: mean change of the negative log-likelihood per token of the unchanged continuation, nats
--   n_readers: layers above the head whose entropies were read (NULL where none were)
--   entropy_change: mean change of the attention entropy of those layers, over prompts and layers, nats
--   largest_entropy_change: the largest mean change in absolute value of one of those layers
--   largest_entropy_layer: that layer
with changes as (
  select *, -nats_lost(base_prob, prob) as log_prob_change, logit - base_logit as logit_change from ablations
),
means as (
  select
    run_id,
    subject,
    checkpoint,
    prompt_set,
    layer,
    head,
    method,
    scale,
    count(*) as n,
    count(distinct question_id) as n_clusters,
    count(log_prob_change) as n_targets,
    avg(log_prob_change) as log_prob_change,
    avg(logit_change) as logit_change,
    avg(kl) as kl,
    avg((top1_id <> base_top1_id)::int) as share_flipped
  from changes
  group by all
),
questions as (
  select
    c.run_id,
    c.layer,
    c.head,
    c.method,
    c.scale,
    c.question_id,
    count(c.log_prob_change) as n,
    sum(c.log_prob_change) as total,
    any_value(m.log_prob_change) as mean,
    count(c.log_prob_change) / any_value(m.n_targets) as share
  from changes as c
  join means as m
    on m.run_id = c.run_id and m.layer = c.layer and m.head = c.head and m.method = c.method and m.scale is not distinct from c.scale
  group by all
),
errors as (
  select
    run_id,
    layer,
    head,
    method,
    scale,
    cr2_sem(sum(n), count(*), cr2_squares(n, total, mean, share)) as clustered_sem,
    case when count(*) > 1 then cr2_df(share) end as clustered_df,
    effective_clusters(share) as n_effective_clusters,
    is_skewed(cluster_skewness(nullif(n, 0), total, mean), count(*)) as is_skewed
  from questions
  group by all
),
limits as (
  select (max(value) filter (name = 'log_prob_margin'))::double as margin from thresholds
),
bounded as (
  select
    m.*,
    q.clustered_sem,
    q.clustered_df,
    q.n_effective_clusters,
    q.is_skewed,
    t_half_width(q.clustered_sem, q.clustered_df) as half_width,
    t.margin,
    equivalence_p(m.log_prob_change, q.clustered_sem, q.clustered_df, t.margin) as equivalence_p
  from means as m
  join errors as q
    on q.run_id = m.run_id and q.layer = m.layer and q.head = m.head and q.method = m.method and q.scale is not distinct from m.scale
  cross join limits as t
),
said as (
  select
    run_id,
    layer,
    head,
    method,
    scale,
    count(*) as n_generations,
    avg(same::int) as share_same,
    avg(n_same) as mean_same_tokens,
    avg(nll - base_nll) as nll_change
  from ablation_generations
  group by all
),
read as (
  select run_id, layer, head, method, scale, reader_layer, avg(entropy - base_entropy) as change
  from ablation_entropies
  where reader_layer > layer
  group by all
),
looked as (
  select
    run_id,
    layer,
    head,
    method,
    scale,
    count(*) as n_readers,
    avg(change) as entropy_change,
    arg_max(change, abs(change)) as largest_entropy_change,
    arg_max(reader_layer, abs(change)) as largest_entropy_layer
  from read
  group by all
),
final as (
  select
    m.run_id,
    m.subject,
    m.checkpoint,
    m.prompt_set,
    m.layer,
    m.head,
    m.method,
    m.scale,
    m.n,
    m.n_clusters,
    m.clustered_df,
    m.n_effective_clusters,
    m.is_skewed,
    m.log_prob_change,
    m.log_prob_change - m.half_width as log_prob_low,
    m.log_prob_change + m.half_width as log_prob_high,
    m.clustered_sem as log_prob_sem,
    m.margin,
    m.equivalence_p,
    movement_of(m.equivalence_p < 0.05, abs(m.log_prob_change) > m.half_width) as movement,
    m.logit_change,
    m.kl,
    m.share_flipped,
    s.n_generations,
    s.share_same,
    s.mean_same_tokens,
    s.nll_change,
    l.n_readers,
    l.entropy_change,
    l.largest_entropy_change,
    l.largest_entropy_layer
  from bounded as m
  left join said as s
    on s.run_id = m.run_id and s.layer = m.layer and s.head = m.head and s.method = m.method and s.scale is not distinct from m.scale
  left join looked as l
    on l.run_id = m.run_id and l.layer = m.layer and l.head = m.head and l.method = m.method and l.scale is not distinct from m.scale
)
select * from final
