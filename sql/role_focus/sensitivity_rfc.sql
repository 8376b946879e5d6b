-- sensitivity_rfc: did instruction tuning compress the Role Focus Coefficient? The answer under every defensible choice, and the share that keeps it
-- grain: base_run, instruct_run, family, measure, layers
-- source: own; specification curve (Simonsohn, Simmons and Nelson 2020) around the published comparison of means over layers; how sure each layer's own difference is
--   stands in rfc_diff: layers are no sample of anything, so that a choice has no interval here
-- columns:
--   base_run: run that holds the base variant
--   instruct_run: run that holds the instruct variant; the same run for a published comparison
--   origin: extracted or published (published files hold the first two measures alone)
--   family: model family: of published files as the study calls it (their folder), of readings made here the architecture of the checkpoint
--   measure: rfc (mean over heads, published), rsi (against first-person prompts about something else), ratio of means (heads count by their entropy), without sharp
--     heads (those whose neutral entropy is near zero), without sink (rows without the first token), nats (neutral minus self-referent entropy)
--   layers: which are averaged: all, first half, second half, or all but the largest (the one with the largest difference, in absolute value)
--   n_layers: layers averaged
--   n_below: layers among them in which instruct is below base
--   estimate: mean over layers of instruct minus base
--   conclusion: compressed (below 0) or not compressed
--   is_reference: the published choice: rfc over all layers
--   reference: its conclusion
--   n_choices: choices of the comparison
--   n_same: those whose conclusion is the reference's (NULL where there is none)
--   share_same: n_same over n_choices
with sides as (
  select
    b.run_id as base_run,
    i.run_id as instruct_run,
    b.origin,
    b.family,
    b.layer,
    i.rfc - b.rfc as rfc,
    i.rsi - b.rsi as rsi,
    i.ratio_of_means - b.ratio_of_means as ratio_of_means,
    i.rfc_without_sharp - b.rfc_without_sharp as rfc_without_sharp,
    i.rfc_no_sink - b.rfc_no_sink as rfc_no_sink,
    b.delta_neutral - i.delta_neutral as nats
  from rfc_layer as b
  join rfc_layer as i on i.origin = b.origin and i.family = b.family and i.layer = b.layer and b.variant = 'base' and i.variant = 'instruct'
  left join rfc_pairs as p on p.base_run = b.run_id and p.instruct_run = i.run_id
  where i.run_id = b.run_id or p.base_run is not null
),
measured as (
  select base_run, instruct_run, origin, family, layer, 'rfc' as measure, rfc as value from sides
  union all
  select base_run, instruct_run, origin, family, layer, 'rsi', rsi from sides
  union all
  select base_run, instruct_run, origin, family, layer, 'ratio of means', ratio_of_means from sides
  union all
  select base_run, instruct_run, origin, family, layer, 'without sharp heads', rfc_without_sharp from sides
  union all
  select base_run, instruct_run, origin, family, layer, 'without sink', rfc_no_sink from sides
  union all
  select base_run, instruct_run, origin, family, layer, 'nats', nats from sides
),
ranked as (
  select
    *,
    row_number() over (partition by base_run, instruct_run, family, measure order by abs(value) desc, layer) as size_rank,
    max(layer) over (partition by base_run, instruct_run, family) as last_layer
  from measured
  where value is not null
),
chosen as (
  select *, 'all' as layers from ranked
  union all
  select *, 'first half' from ranked where 2 * layer < last_layer + 1
  union all
  select *, 'second half' from ranked where 2 * layer >= last_layer + 1
  union all
  select *, 'all but the largest' from ranked where size_rank > 1
),
estimates as (
  select
    base_run,
    instruct_run,
    any_value(origin) as origin,
    family,
    measure,
    layers,
    count(*) as n_layers,
    count(*) filter (value < 0) as n_below,
    avg(value) as estimate
  from chosen
  group by base_run, instruct_run, family, measure, layers
),
judged as (
  select
    *,
    case when estimate < 0 then 'compressed' else 'not compressed' end as conclusion,
    measure = 'rfc' and layers = 'all' as is_reference
  from estimates
),
referred as (
  select *, max(conclusion) filter (is_reference) over (partition by base_run, instruct_run, family) as reference from judged
),
final as (
  select
    *,
    count(*) over choices as n_choices,
    case when reference is not null then count(*) filter (conclusion = reference) over choices end as n_same,
    n_same / n_choices as share_same
  from referred
  window choices as (partition by base_run, instruct_run, family)
)
select * from final
