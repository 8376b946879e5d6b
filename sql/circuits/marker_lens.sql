-- marker_lens: at which layer does the marker's first token rise? Logit lens at the step before it, trained and base on the same tokens, paired by generation
-- grain: trained_run, base_run, layer
-- source: own; trained and base read identical tokens, as in issue 224
-- columns:
--   trained_run: logit lens of the checkpoint that sampled the tokens
--   base_run: logit lens of another checkpoint over the same tokens (NULL: none)
--   trained_subject: subject of trained_run
--   base_subject: subject of base_run
--   trained_checkpoint: checkpoint that sampled the tokens
--   base_checkpoint: checkpoint that was force-fed them
--   tokens_run: completions run the tokens came from
--   layer: decoder layer, from 0 (-1: the embeddings)
--   n: generations with the marker, read by both
--   n_clusters: questions among them
--   clustered_df: degrees of freedom of the intervals (Bell and McCaffrey 2002): n_clusters - 1 where questions are equally large, fewer where not
--   n_effective_clusters: Kish's effective number of questions, (sum of sizes)^2 / sum of squared sizes: so many equally large ones weigh as much
--   is_skewed: the questions' means of a difference are so skewed that an interval is too short on one side (skewness at least 1 and beyond twice its standard error)
--   trained_prob: mean probability of the marker's first token, trained
--   base_prob: the same, base
--   prob_difference: mean of trained minus base
--   prob_low: lower end of its 95% interval, Student t, clustered by question (CR2), this layer alone (NULL where the questions do not differ)
--   prob_high: upper end
--   prob_adjusted_p: two-sided p of prob_difference adjusted for all layers: sign flips of questions, max-T (NULL: not computed, no base or no variation)
--   trained_logit: mean logit, trained
--   base_logit: the same, base
--   logit_difference: mean of trained minus base
--   logit_low: lower end of its 95% interval, as prob_low
--   logit_high: upper end
--   logit_adjusted_p: p of logit_difference adjusted for all layers, as prob_adjusted_p
--   trained_rank: median rank of the token, trained, from 1
--   base_rank: the same, base
--   trained_top1: share of generations where it is top-1, trained
--   base_top1: the same, base
with paired as (
  select * from marker_lens_pairs
),
clusters as (
  select
    trained_run,
    base_run,
    layer,
    question_id,
    count(*) as n,
    sum(trained_prob - base_prob) as prob_total,
    sum(trained_logit - base_logit) as logit_total
  from paired
  group by trained_run, base_run, layer, question_id
),
centred as (
  select
    *,
    n / sum(n) over layers as share,
    sum(prob_total) over layers / sum(n) over layers as prob_mean,
    sum(logit_total) over layers / sum(n) over layers as logit_mean
  from clusters
  window layers as (partition by trained_run, base_run, layer)
),
errors as (
  select
    trained_run,
    base_run,
    layer,
    count(*) as n_clusters,
    any_value(prob_mean) as prob_difference,
    any_value(logit_mean) as logit_difference,
    case when count(*) > 1 then cr2_df(share) end as clustered_df,
    effective_clusters(share) as n_effective_clusters,
    is_skewed(cluster_skewness(n, prob_total, prob_mean), count(*)) or is_skewed(cluster_skewness(n, logit_total, logit_mean), count(*)) as is_skewed,
    cr2_sem(sum(n), count(*), cr2_squares(n, prob_total, prob_mean, share)) as prob_sem,
    cr2_sem(sum(n), count(*), cr2_squares(n, logit_total, logit_mean, share)) as logit_sem
  from centred
  group by trained_run, base_run, layer
),
bounded as (
  select *, t_half_width(prob_sem, clustered_df) as prob_half_width, t_half_width(logit_sem, clustered_df) as logit_half_width from errors
),
tested as (
  select
    first_run as trained_run,
    second_run as base_run,
    layer,
    max(n) as n,
    max(n_clusters) as n_clusters,
    max(adjusted_p) filter (measure = 'prob') as prob_adjusted_p,
    max(adjusted_p) filter (measure = 'logit') as logit_adjusted_p
  from family_p
  where figure = 'marker_lens'
  group by first_run, second_run, layer
),
means as (
  select
    trained_run,
    base_run,
    any_value(trained_subject) as trained_subject,
    any_value(base_subject) as base_subject,
    any_value(trained_checkpoint) as trained_checkpoint,
    any_value(base_checkpoint) as base_checkpoint,
    any_value(tokens_run) as tokens_run,
    layer,
    count(*) as n,
    avg(trained_prob) as trained_prob,
    avg(base_prob) as base_prob,
    avg(trained_logit) as trained_logit,
    avg(base_logit) as base_logit,
    median(trained_rank) as trained_rank,
    median(base_rank) as base_rank,
    avg(trained_top1::integer) as trained_top1,
    avg(base_top1::integer) as base_top1
  from paired
  group by trained_run, base_run, layer
),
final as (
  select
    m.trained_run,
    m.base_run,
    m.trained_subject,
    m.base_subject,
    m.trained_checkpoint,
    m.base_checkpoint,
    m.tokens_run,
    m.layer,
    m.n,
    e.n_clusters,
    e.clustered_df,
    e.n_effective_clusters,
    e.is_skewed,
    m.trained_prob,
    m.base_prob,
    e.prob_difference,
    e.prob_difference - e.prob_half_width as prob_low,
    e.prob_difference + e.prob_half_width as prob_high,
    t.prob_adjusted_p,
    m.trained_logit,
    m.base_logit,
    e.logit_difference,
    e.logit_difference - e.logit_half_width as logit_low,
    e.logit_difference + e.logit_half_width as logit_high,
    t.logit_adjusted_p,
    m.trained_rank,
    m.base_rank,
    m.trained_top1,
    m.base_top1
  from means as m
  join bounded as e on e.trained_run = m.trained_run and e.base_run is not distinct from m.base_run and e.layer = m.layer
  left join tested as t on t.trained_run = m.trained_run and t.base_run = m.base_run and t.layer = m.layer and t.n = m.n and t.n_clusters = e.n_clusters
)
select * from final
