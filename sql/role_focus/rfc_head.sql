-- rfc_head: Role Focus Coefficient and Role Separation Index of every head: how much sharper it attends on self-referent prompts than on neutral ones
-- grain: run_id, family, variant, layer, head
-- source: mduffster/self-referent-test, README of the published files: RFC = 1 - H_self / H_neutral, RSI = (H_confounder - H_self) / H_neutral, positions of all
--   prompts of a category pooled
-- columns:
--   family: architecture of the checkpoint
--   variant: base, instruct, ... as the checkpoint's card says
--   form: raw or chat; figures of the two are never compared
--   h_self: entropy on self-referent prompts, pooled over positions, nats
--   h_confounder: on first-person prompts that are not about the model
--   h_neutral: on neutral prompts
--   h_third: on third-person prompts
--   delta_neutral: h_self - h_neutral, nats
--   delta_confounder: h_self - h_confounder, nats
--   rfc: 1 - h_self / h_neutral (NULL where h_neutral is 0)
--   rsi: (h_confounder - h_self) / h_neutral
--   rfc_no_sink: rfc of the rows without the first token
--   sharp: h_neutral is below near_zero_entropy (view thresholds), so that the ratio says little
--   n: prompts of the smallest of the three categories
--   n_heads_model: heads of a layer by the checkpoint's configuration
--   n_layers: layers by the checkpoint's configuration
with sizes as (
  select run_id, max(family) as family, max(variant) as variant, max(n_layers) as n_layers, max(n_heads) as n_heads from checkpoints group by run_id
),
limits as (
  select max(value) filter (name = 'near_zero_entropy') as near_zero_entropy from thresholds
),
wide as (
  select
    run_id,
    checkpoint,
    prompt_set,
    form,
    layer,
    head,
    max(pooled) filter (category = 'self_referent') as h_self,
    max(pooled) filter (category = 'confounder') as h_confounder,
    max(pooled) filter (category = 'neutral') as h_neutral,
    max(pooled) filter (category = 'third_person') as h_third,
    max(pooled_no_sink) filter (category = 'self_referent') as self_no_sink,
    max(pooled_no_sink) filter (category = 'neutral') as neutral_no_sink,
    min(n) filter (category in ('self_referent', 'confounder', 'neutral')) as n
  from head_entropies
  group by run_id, checkpoint, prompt_set, form, layer, head
),
final as (
  select
    w.run_id,
    'extracted' as origin,
    s.family,
    s.variant,
    w.checkpoint,
    w.prompt_set,
    w.form,
    w.layer,
    w.head,
    w.h_self,
    w.h_confounder,
    w.h_neutral,
    w.h_third,
    w.h_self - w.h_neutral as delta_neutral,
    w.h_self - w.h_confounder as delta_confounder,
    1 - w.h_self / nullif(w.h_neutral, 0) as rfc,
    (w.h_confounder - w.h_self) / nullif(w.h_neutral, 0) as rsi,
    1 - w.self_no_sink / nullif(w.neutral_no_sink, 0) as rfc_no_sink,
    w.h_neutral < l.near_zero_entropy as sharp,
    w.n,
    s.n_heads as n_heads_model,
    s.n_layers
  from wide as w
  join sizes as s using (run_id)
  cross join limits as l
  where w.h_self is not null and w.h_neutral is not null
)
select * from final
