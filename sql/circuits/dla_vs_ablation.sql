-- dla_vs_ablation: do direct attribution and ablation rank the heads alike? Spearman correlation over heads, corrected for noise and as it stands
-- grain: attribution_run, ablation_run, stratum, prompt_form, measure_a, measure_b, layer
-- source: own; after the echo write-up ("ablation results and DLA results disagree strongly"); interval by resampling questions, correction for
--   attenuation (Spearman 1904) by halves of the questions with a jackknife interval over questions as own addition
-- columns:
--   attribution_run: run of the direct attributions (NULL: none)
--   ablation_run: run of the ablations (NULL: none)
--   prompt_form: phrasing of the task, none where there is one only, or all
--   measure_a: direct (to the target's logit), direct_margin (to the target's logit minus the runner-up's), or sieve (estimate of zero_logit from gradients)
--   measure_b: ablation it is compared with: zero, mean, resample, scale with its factor, by the log-probability lost; the same with _margin or _logit behind
--     it, by what margin or raw logit lose; sieve is compared with zero_logit alone
--   layer: decoder layer, from 0 (NULL: all heads of the model)
--   n: prompts
--   n_clusters: questions among them
--   n_heads: heads that are ranked
--   reliability_a: how well halves of the questions agree on the ranks by measure_a, at full length (Spearman-Brown; NULL: fewer than four questions, not computed)
--   reliability_b: the same by measure_b
--   corrected: rank correlation as it would be without the noise of either measure (NULL where halves do not agree at all, or with corrected_missing not computed)
--   corrected_low: lower end of its 95% interval, jackknife over questions (NULL with corrected_missing)
--   corrected_high: upper end
--   corrected_missing: why there is no interval: one question, not computed, outdated, too few questions, or too noisy to tell: a reliability below that of `thresholds`
--   spearman: rank correlation over heads of the two mean worths, average ranks, pulled towards 0 by noise (NULL with fewer than three heads or where one does not vary)
--   spearman_low: lower end of its 95% percentile interval, questions resampled; with it or without, noise hides the correlation of what is true (NULL with interval_missing)
--   spearman_high: upper end
--   interval_missing: why there is none: one question, not computed, outdated or no variation (NULL where there is one)
--   prompt_spearman: mean over prompts of the rank correlation at the single prompt
--   n_shared_top3: heads among the first three by both
--   same_first: the first head is the same by both
--   method: how the interval was made
with worths as (
  select * from head_worths
),
compared as (
  select
    a.attribution_run,
    a.ablation_run,
    a.subject,
    a.checkpoint,
    a.stratum,
    a.prompt_form,
    a.measure as measure_a,
    b.measure as measure_b,
    unnest([a.layer, null]) as layer,
    a.layer as own_layer,
    a.head,
    least(a.n, b.n) as n,
    least(a.n_clusters, b.n_clusters) as n_clusters,
    a.worth as worth_a,
    b.worth as worth_b
  from worths as a
  join worths as b
    on b.attribution_run is not distinct from a.attribution_run
    and b.ablation_run is not distinct from a.ablation_run
    and b.subject = a.subject
    and b.stratum = a.stratum
    and b.prompt_form = a.prompt_form
    and b.layer = a.layer
    and b.head = a.head
  where b.measure not in ('direct', 'direct_margin', 'sieve')
    and (a.measure in ('direct', 'direct_margin') or a.measure = 'sieve' and b.measure = 'zero_logit')
),
keyed as (
  select
    *,
    {
      'attribution_run': attribution_run,
      'ablation_run': ablation_run,
      'subject': subject,
      'checkpoint': checkpoint,
      'stratum': stratum,
      'prompt_form': prompt_form,
      'measure_a': measure_a,
      'measure_b': measure_b,
      'layer': layer
    } as ranking
  from compared
),
ranked as (
  select
    *,
    average_rank(worth_a, ranking) as rank_a,
    average_rank(worth_b, ranking) as rank_b,
    row_number() over (partition by ranking order by worth_a desc, own_layer, head) as place_a,
    row_number() over (partition by ranking order by worth_b desc, own_layer, head) as place_b
  from keyed
),
correlated as (
  select
    ranking,
    min(n) as n,
    min(n_clusters) as n_clusters,
    count(*) as n_heads,
    case when count(*) >= 3 then profile_corr(rank_a, rank_b) end as spearman,
    count(*) filter (place_a <= 3 and place_b <= 3) as n_shared_top3,
    bool_or(place_a = 1 and place_b = 1) as same_first
  from ranked
  group by ranking
),
computed as (
  select a.*, s.is_current
  from rank_agreement as a
  join analysis_standing as s using (run_id)
  qualify row_number() over (
    partition by a.attribution_run, a.ablation_run, a.stratum, a.prompt_form, a.measure_a, a.measure_b, a.layer
    order by s.place
  ) = 1
),
matched as (
  select c.*, a.* exclude (n, n_clusters), a.run_id is not null as is_computed, a.is_current and a.n = c.n and a.n_clusters = c.n_clusters as is_valid
  from correlated as c
  left join computed as a
    on a.attribution_run is not distinct from c.ranking.attribution_run
    and a.ablation_run is not distinct from c.ranking.ablation_run
    and a.stratum = c.ranking.stratum
    and a.prompt_form = c.ranking.prompt_form
    and a.measure_a = c.ranking.measure_a
    and a.measure_b = c.ranking.measure_b
    and a.layer is not distinct from c.ranking.layer
),
judged as (
  select
    *,
    case
      when low is null then null
      when corrected_low is null and reliability_a is null then 'too few questions'
      when corrected_low is null or least(reliability_a, reliability_b) < l.reliability then 'too noisy to tell'
    end as noisy
  from matched
  cross join (select max(value) filter (name = 'profile_reliability') as reliability from thresholds) as l
),
final as (
  select
    ranking.attribution_run as attribution_run,
    ranking.ablation_run as ablation_run,
    ranking.subject as subject,
    ranking.checkpoint as checkpoint,
    ranking.stratum as stratum,
    ranking.prompt_form as prompt_form,
    ranking.measure_a as measure_a,
    ranking.measure_b as measure_b,
    ranking.layer as layer,
    n,
    n_clusters,
    n_heads,
    case when is_valid then reliability_a end as reliability_a,
    case when is_valid then reliability_b end as reliability_b,
    case when is_valid then corrected end as corrected,
    case when is_valid and noisy is null then corrected_low end as corrected_low,
    case when is_valid and noisy is null then corrected_high end as corrected_high,
    coalesce(why_missing(n_clusters, is_computed, is_valid, low is not null), noisy) as corrected_missing,
    spearman,
    case when is_valid then low end as spearman_low,
    case when is_valid then high end as spearman_high,
    why_missing(n_clusters, is_computed, is_valid, low is not null) as interval_missing,
    case when is_valid then prompt_spearman end as prompt_spearman,
    n_shared_top3,
    same_first,
    case when is_valid then method end as method,
    case when is_valid then resamples end as resamples,
    case when is_valid then seed end as seed
  from judged
)
select * from final
