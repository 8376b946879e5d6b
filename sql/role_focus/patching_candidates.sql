-- patching_candidates: heads worth patching: those whose entropy instruction tuning changed more on self-referent than on neutral prompts
-- grain: run_id, base_run, family, layer, head
-- source: mduffster/self-referent-test, README of the published files; exact sign test with Bonferroni's bound as own addition
-- columns:
--   origin: extracted or published
--   run_id: run of the file; of extracted heads the entropy run of the instruct variant
--   base_run: entropy run of the base variant (NULL of published candidates)
--   family: model family: of published files as the study calls it (their folder), of readings made here the architecture of the checkpoint
--   rank: published order, from 1; of extracted heads the order by composite over all heads of the model
--   is_top: among the first ten, as many as the study prints
--   did: median over prompt pairs of (instruct minus base on self-referent) minus (instruct minus base on neutral), nats
--   log_ratio: median log ratio of instruct to base entropy on self-referent prompts, a share of the median (thresholds: patching_epsilon) added to both
--   did_log_ratio: median of that log ratio minus the one of the paired neutral prompt; the study's README prints it as Log-Ratio
--   consistency: larger share of prompt pairs whose difference in differences has one sign
--   composite: sum of the three scores
--   magnitude_score: z score over all heads of the absolute did_log_ratio
--   consistency_score: z score of consistency
--   baseline_score: z score of minus the base model's entropy: heads that are sharp from the start score high
--   self_diff: median of instruct minus base on self-referent prompts
--   neutral_diff: the same on neutral prompts
--   direction_conflict: did and self_diff differ in sign: the arrow of did is not the direction of the self-referent change
--   self_base: median entropy on self-referent prompts, base
--   self_instruct: the same, instruct
--   neutral_base: median entropy on neutral prompts, base
--   neutral_instruct: the same, instruct
--   baseline: entropy behind baseline_score; self_base once more
--   self_consistency: larger share of self-referent prompts whose difference has one sign
--   self_diff_iqr: interquartile range of the self-referent difference
--   did_iqr: interquartile range of the difference in differences
--   log_ratio_iqr: interquartile range of the log ratio
--   n_pairs: prompt pairs: by position in the two published lists, by question_id where extracted
--   n_consistent: pairs behind consistency
--   sign_p: exact two-sided binomial p of n_consistent of n_pairs, this head alone
--   sign_p_bonferroni: the same times the model's heads, since every head was searched (NULL where the model is not known)
--   n_heads_searched: heads of the model over all layers
--   flip_p: p of the mean of did, signs of pairs flipped, this head alone; null: base and instruct exchangeable within a pair (NULL: not computed, or published)
--   flip_p_max_t: the same adjusted for all heads of the model (max-T)
--   flip_p_fdr: flip_p adjusted over all heads of the model (Benjamini-Hochberg), at most flip_p_max_t: what holds for every error holds for a share of them
--   bootstrap_t_p_max_t: p of the same mean adjusted for all heads of the model, whatever the shape of the differences: bootstrap-t over pairs (Hall 1988)
--   instruct_checkpoint: checkpoint of the instruct variant (NULL of published candidates)
--   base_checkpoint: checkpoint of the base variant (NULL of published candidates)
--   form: raw or chat (NULL of published candidates)
--   composite_error: distance of the printed composite from the sum of the three scores
--   rank_by_composite: order by the composite among the rows of the file, from 1
with models as (
  select family, any_value(n_layers * n_heads) as n_heads_searched from published_models group by family having count(*) = 1
),
renamed as (
  select
    p.run_id,
    'published' as origin,
    p.family,
    p.layer,
    p.head,
    p.rank,
    p.did_median as did,
    p.log_ratio_median as log_ratio,
    p.did_log_ratio_median as did_log_ratio,
    p.did_consistency as consistency,
    p.composite_score as composite,
    p.magnitude_score,
    p.consistency_score,
    p.baseline_score,
    p.self_diff_median as self_diff,
    p.neutral_diff_median as neutral_diff,
    p.self_base_median as self_base,
    p.self_instruct_median as self_instruct,
    p.neutral_base_median as neutral_base,
    p.neutral_instruct_median as neutral_instruct,
    p.baseline_entropy as baseline,
    p.self_consistency,
    p.self_diff_iqr,
    p.did_iqr,
    p.log_ratio_iqr,
    least(p.n_self, p.n_neutral) as n_pairs,
    m.n_heads_searched
  from published_patching_candidates as p
  left join models as m on m.family = lower(p.family)
),
prompts as (
  select run_id, category, question_id, layer, head, mean from entropy where category in ('self_referent', 'neutral') and mean is not null
),
limits as (
  select max(value) filter (name = 'patching_epsilon') as epsilon from thresholds
),
joined as (
  select
    p.*,
    b.layer,
    b.head,
    b.mean as self_base,
    i.mean as self_instruct,
    nb.mean as neutral_base,
    ni.mean as neutral_instruct,
    i.mean - b.mean as self_diff,
    ni.mean - nb.mean as neutral_diff,
    self_diff - neutral_diff as did,
    l.epsilon * median(b.mean) over (partition by p.base_run, p.instruct_run, b.layer, b.head) as epsilon
  from rfc_pairs as p
  cross join limits as l
  join prompts as b on b.run_id = p.base_run and b.category = 'self_referent'
  join prompts as i
    on i.run_id = p.instruct_run and i.category = 'self_referent' and i.question_id = b.question_id and i.layer = b.layer and i.head = b.head
  join prompts as nb on nb.run_id = p.base_run and nb.category = 'neutral' and nb.question_id = b.question_id and nb.layer = b.layer and nb.head = b.head
  join prompts as ni
    on ni.run_id = p.instruct_run and ni.category = 'neutral' and ni.question_id = b.question_id and ni.layer = b.layer and ni.head = b.head
),
compared as (
  select
    *,
    ln((self_instruct + epsilon) / nullif(self_base + epsilon, 0)) as log_ratio,
    log_ratio - ln((neutral_instruct + epsilon) / nullif(neutral_base + epsilon, 0)) as did_log_ratio
  from joined
),
measured as (
  select
    instruct_run as run_id,
    base_run,
    'extracted' as origin,
    family,
    base_checkpoint,
    instruct_checkpoint,
    form,
    layer,
    head,
    median(did) as did,
    median(log_ratio) as log_ratio,
    median(did_log_ratio) as did_log_ratio,
    case when avg((did > 0)::int) > 0.5 then avg((did > 0)::int) else avg((did < 0)::int) end as consistency,
    median(self_diff) as self_diff,
    median(neutral_diff) as neutral_diff,
    median(self_base) as self_base,
    median(self_instruct) as self_instruct,
    median(neutral_base) as neutral_base,
    median(neutral_instruct) as neutral_instruct,
    median(self_base) as baseline,
    case when avg((self_diff > 0)::int) > 0.5 then avg((self_diff > 0)::int) else avg((self_diff < 0)::int) end as self_consistency,
    quantile_cont(self_diff, 0.75) - quantile_cont(self_diff, 0.25) as self_diff_iqr,
    quantile_cont(did, 0.75) - quantile_cont(did, 0.25) as did_iqr,
    quantile_cont(log_ratio, 0.75) - quantile_cont(log_ratio, 0.25) as log_ratio_iqr,
    count(*) as n_pairs
  from compared
  group by base_run, instruct_run, family, base_checkpoint, instruct_checkpoint, form, layer, head
),
scored as (
  select
    *,
    (abs(did_log_ratio) - avg(abs(did_log_ratio)) over model) / nullif(stddev_samp(abs(did_log_ratio)) over model, 0) as magnitude_score,
    (consistency - avg(consistency) over model) / nullif(stddev_samp(consistency) over model, 0) as consistency_score,
    -(baseline - avg(baseline) over model) / nullif(stddev_samp(baseline) over model, 0) as baseline_score,
    magnitude_score + consistency_score + baseline_score as composite,
    count(*) over model as n_heads_searched
  from measured
  window model as (partition by run_id, base_run)
),
extracted as (
  select *, row_number() over (partition by run_id, base_run order by composite desc nulls last, layer, head) as rank from scored
),
both_origins as (
  from renamed union all by name from extracted
),
flips as (
  select f.*, row(f.base_run, f.instruct_run) as pair, fdr_bound(f.p, pair) as bound
  from patching_flips as f
  join analysis_standing as s using (run_id)
  where s.is_current
),
adjusted as (
  select *, least(fdr_adjusted(p, bound, pair), adjusted_p) as p_fdr from flips
),
counted as (
  select
    b.*,
    round(b.consistency * b.n_pairs)::integer as n_consistent,
    sign_test_p(n_consistent, b.n_pairs) as sign_p,
    f.p as flip_p,
    f.adjusted_p as flip_p_max_t,
    f.p_fdr as flip_p_fdr,
    f.bootstrap_t_adjusted_p as bootstrap_t_p_max_t
  from both_origins as b
  left join adjusted as f on f.instruct_run = b.run_id and f.base_run = b.base_run and f.layer = b.layer and f.head = b.head
),
final as (
  select
    run_id,
    origin,
    family,
    layer,
    head,
    rank,
    rank <= 10 as is_top,
    did,
    log_ratio,
    did_log_ratio,
    consistency,
    composite,
    magnitude_score,
    consistency_score,
    baseline_score,
    self_diff,
    neutral_diff,
    sign(did) <> sign(self_diff) as direction_conflict,
    self_base,
    self_instruct,
    neutral_base,
    neutral_instruct,
    baseline,
    self_consistency,
    self_diff_iqr,
    did_iqr,
    log_ratio_iqr,
    n_pairs,
    n_consistent,
    sign_p,
    case when n_heads_searched is not null then least(1.0, sign_p * n_heads_searched) end as sign_p_bonferroni,
    n_heads_searched,
    abs(magnitude_score + consistency_score + baseline_score - composite) as composite_error,
    row_number() over (partition by run_id, base_run, family order by composite desc nulls last, rank) as rank_by_composite,
    base_run,
    base_checkpoint,
    instruct_checkpoint,
    form,
    flip_p,
    flip_p_max_t,
    flip_p_fdr,
    bootstrap_t_p_max_t
  from counted
)
select * from final
