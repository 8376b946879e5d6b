-- rfc_layer: Role Focus Coefficient and Role Separation Index per layer of each variant of a family: do self-referent prompts draw sharper attention than neutral?
-- grain: run_id, family, variant, layer
-- source: mduffster/self-referent-test, README of the published files: RFC = 1 - H_self / H_neutral, RSI = (H_confounder - H_self) / H_neutral per head
-- columns:
--   origin: extracted or published
--   family: model family: of published files as the study calls it (their folder), of readings made here the architecture of the checkpoint
--   variant: base or instruct
--   rfc: mean over heads of the head's RFC
--   std: standard deviation of RFC over heads, n - 1
--   ci_low: lower end of the 95% t interval of rfc, heads taken as independent
--   ci_high: upper end
--   rsi: mean over heads of the head's RSI
--   rsi_std: its standard deviation over heads
--   rsi_ci_low: lower end of the 95% t interval of rsi
--   rsi_ci_high: upper end
--   n_heads: heads that were read
--   n_heads_model: heads the model has per layer (NULL where the model is not known); more than n_heads means that heads were left out
--   n_layers: depth that was read: the last layer plus one
--   form: raw or chat (NULL of published figures)
--   ratio_of_means: 1 - mean over heads of H_self over mean over heads of H_neutral: heads count by their entropy (NULL of published figures)
--   delta_neutral: mean over heads of H_self - H_neutral, nats (NULL of published figures)
--   delta_confounder: mean over heads of H_self - H_confounder, nats (NULL of published figures)
--   rfc_without_sharp: rfc without the heads whose neutral entropy is near zero (NULL of published figures)
--   n_sharp: heads left out there
--   rfc_no_sink: rfc of the rows without the first token (NULL of published figures)
--   n: prompts of the smallest category (NULL of published figures)
with depths as (
  select *, max(layer) over (partition by run_id, family) + 1 as n_layers from published_rfc_layers
),
of_publications as (
  select
    d.run_id,
    'published' as origin,
    d.family,
    d.variant,
    d.layer,
    d.rfc_mean as rfc,
    d.rfc_std as std,
    d.rfc_ci_low as ci_low,
    d.rfc_ci_high as ci_high,
    d.rsi_mean as rsi,
    d.rsi_std,
    d.rsi_ci_low,
    d.rsi_ci_high,
    d.n_heads,
    m.n_heads as n_heads_model,
    d.n_layers
  from depths as d
  left join published_models as m on m.family = lower(d.family) and m.n_layers = d.n_layers
),
extracted as (
  select
    run_id,
    origin,
    family,
    variant,
    checkpoint,
    prompt_set,
    form,
    layer,
    avg(rfc) as rfc,
    stddev_samp(rfc) as std,
    avg(rsi) as rsi,
    stddev_samp(rsi) as rsi_std,
    count(rsi) as n_rsi,
    count(rfc) as n_heads,
    max(n_heads_model) as n_heads_model,
    max(n_layers) as n_layers,
    1 - avg(h_self) / nullif(avg(h_neutral), 0) as ratio_of_means,
    avg(delta_neutral) as delta_neutral,
    avg(delta_confounder) as delta_confounder,
    avg(rfc) filter (not sharp) as rfc_without_sharp,
    count(*) filter (sharp) as n_sharp,
    avg(rfc_no_sink) as rfc_no_sink,
    min(n) as n
  from rfc_head
  group by run_id, origin, family, variant, checkpoint, prompt_set, form, layer
),
bounded as (
  select *, half_width(std / sqrt(n_heads), n_heads) as half_width, half_width(rsi_std / sqrt(n_rsi), n_rsi) as rsi_half_width from extracted
),
with_intervals as (
  select
    * exclude (n_rsi, half_width, rsi_half_width),
    rfc - half_width as ci_low,
    rfc + half_width as ci_high,
    rsi - rsi_half_width as rsi_ci_low,
    rsi + rsi_half_width as rsi_ci_high
  from bounded
),
final as (
  from of_publications union all by name from with_intervals
)
select * from final
