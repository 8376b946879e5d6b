-- rfc_diff: instruct minus base per layer: what instruction tuning did to the Role Focus Coefficient, as published, with a Welch test and FDR over layers beside it
-- grain: base_run, instruct_run, family, layer
-- source: mduffster/self-referent-test, README of the published files; Welch (1947); Benjamini and Hochberg (1995)
-- columns:
--   base_run: run that holds the base variant
--   instruct_run: run that holds the instruct variant; the same run for a published comparison
--   origin: extracted or published
--   family: model family: of published files as the study calls it (their folder), of readings made here the architecture of the checkpoint
--   rfc_base: RFC of the base variant, mean over heads
--   rfc_instruct: RFC of the instruct variant
--   rfc_diff: rfc_instruct minus rfc_base
--   ci_low: lower end of its 95% interval: t with min(n) - 1 degrees of freedom over the unpaired standard error, heads taken as independent
--   ci_high: upper end
--   excludes_zero: the interval leaves out 0; no correction over layers
--   changed: rfc_diff is beyond 0.01 (margin), which the study counts as significant without a test
--   rsi_base: RSI of the base variant
--   rsi_instruct: RSI of the instruct variant
--   rsi_diff: rsi_instruct minus rsi_base
--   rsi_ci_low: lower end of its 95% interval
--   rsi_ci_high: upper end
--   rsi_excludes_zero: that interval leaves out 0
--   n_heads: heads that were read, the smaller of both variants
--   n_heads_model: heads the model has per layer (NULL where the model is not known)
--   n_layers: depth that was read: the last layer plus one
--   se: standard error of rfc_diff over heads, both variants taken as independent
--   welch_df: Welch's degrees of freedom
--   welch_p: two-sided p of rfc_diff by Welch's test over heads (NULL where heads do not vary)
--   welch_p_fdr: welch_p adjusted over the layers of the comparison (Benjamini-Hochberg): of the layers below 0.05, 5% are expected to be false
--   ci_error: largest distance of a printed end of the interval from the published formula (NULL where nothing was printed)
--   form: raw or chat, of both variants (NULL of published figures)
--   base_checkpoint: checkpoint of base_run (NULL of published figures)
--   instruct_checkpoint: checkpoint of instruct_run
--   resampled_low: lower end of the 95% interval of rfc_diff when prompts are drawn again within their category, the same for both variants (NULL: not computed)
--   resampled_high: upper end
--   resampled_excludes_zero: that interval leaves out 0; no correction over layers
--   margin: differences within plus and minus this count as none (thresholds: rfc_margin)
--   movement: equivalent (the interval over prompts lies within the margin: two one-sided tests at 0.025; Schuirmann 1987), else moved (it leaves out 0, this layer
--     alone), else cannot tell, as without an interval over prompts
--   ratio_diff: instruct minus base of ratio_of_means
--   ratio_diff_low: lower end of its interval by the same draws
--   ratio_diff_high: upper end
--   n_prompts: prompts of the smallest category
--   diff_error: distance of the printed rfc_diff from rfc_instruct minus rfc_base (NULL where nothing was printed)
with layers as (
  select * from rfc_layer
),
limits as (
  select (max(value) filter (name = 'rfc_margin'))::double as margin from thresholds
),
drawn as (
  select i.* from rfc_intervals as i join analysis_standing as s using (run_id) where s.is_current and i.layer is not null
),
sides as (
  select
    p.form,
    p.base_checkpoint,
    p.instruct_checkpoint,
    p.prompt_set,
    i.ratio_of_means - b.ratio_of_means as ratio_diff,
    i.rsi - b.rsi as rsi_difference,
    welch_se(b.rsi_std, b.n_heads, i.rsi_std, i.n_heads) as rsi_se,
    least(b.n, i.n) as n_prompts,
    b.run_id as base_run,
    i.run_id as instruct_run,
    b.origin,
    b.family,
    b.layer,
    b.rfc as rfc_base,
    i.rfc as rfc_instruct,
    b.rsi as rsi_base,
    i.rsi as rsi_instruct,
    least(b.n_heads, i.n_heads) as n_heads,
    b.n_heads_model,
    b.n_layers,
    i.rfc - b.rfc as difference,
    welch_se(b.std, b.n_heads, i.std, i.n_heads) as se,
    welch_df(b.std, b.n_heads, i.std, i.n_heads) as welch_df
  from layers as b
  join layers as i on i.origin = b.origin and i.family = b.family and i.layer = b.layer and b.variant = 'base' and i.variant = 'instruct'
  left join rfc_pairs as p on p.base_run = b.run_id and p.instruct_run = i.run_id
  where i.run_id = b.run_id or p.base_run is not null
),
bounded as (
  select *, student_t_quantile(0.975, n_heads - 1) as quantile from sides
),
tested as (
  select
    s.* exclude (quantile),
    s.quantile * s.se as half_width,
    s.quantile * s.rsi_se as rsi_half_width,
    coalesce(p.rsi_diff, s.rsi_difference) as rsi_diff,
    case when p.run_id is null then s.difference - half_width else p.rfc_diff_ci_low end as ci_low,
    case when p.run_id is null then s.difference + half_width else p.rfc_diff_ci_high end as ci_high,
    case when p.run_id is null then s.rsi_difference - rsi_half_width else p.rsi_diff_ci_low end as rsi_ci_low,
    case when p.run_id is null then s.rsi_difference + rsi_half_width else p.rsi_diff_ci_high end as rsi_ci_high,
    coalesce(p.rfc_diff, s.difference) as rfc_diff,
    abs(p.rfc_diff - s.difference) as diff_error,
    p.run_id is not null as is_printed,
    d.rfc_diff_low as resampled_low,
    d.rfc_diff_high as resampled_high,
    d.ratio_diff_low,
    d.ratio_diff_high,
    case when s.se > 0 then student_t_p(s.difference / s.se, s.welch_df) end as welch_p
  from bounded as s
  left join published_rfc_diffs as p on p.run_id = s.instruct_run and p.family = s.family and p.layer = s.layer
  left join drawn as d on d.base_run = s.base_run and d.instruct_run = s.instruct_run and d.layer = s.layer
),
adjusted as (
  select *, row(base_run, instruct_run, family) as comparison, fdr_bound(welch_p, comparison) as welch_bound from tested
),
final as (
  select
    base_run,
    instruct_run,
    origin,
    family,
    layer,
    rfc_base,
    rfc_instruct,
    rfc_diff,
    ci_low,
    ci_high,
    ci_low > 0 or ci_high < 0 as excludes_zero,
    abs(rfc_diff) > margin as changed,
    rsi_base,
    rsi_instruct,
    rsi_diff,
    rsi_ci_low,
    rsi_ci_high,
    rsi_ci_low > 0 or rsi_ci_high < 0 as rsi_excludes_zero,
    n_heads,
    n_heads_model,
    n_layers,
    se,
    welch_df,
    welch_p,
    fdr_adjusted(welch_p, welch_bound, comparison) as welch_p_fdr,
    case when is_printed then greatest(abs(ci_low - (rfc_diff - half_width)), abs(ci_high - (rfc_diff + half_width))) end as ci_error,
    diff_error,
    prompt_set,
    form,
    base_checkpoint,
    instruct_checkpoint,
    resampled_low,
    resampled_high,
    resampled_low > 0 or resampled_high < 0 as resampled_excludes_zero,
    margin,
    movement_of(greatest(-resampled_low, resampled_high) < margin, resampled_low > 0 or resampled_high < 0) as movement,
    ratio_diff,
    ratio_diff_low,
    ratio_diff_high,
    n_prompts
  from adjusted
  cross join limits
)
select * from final
