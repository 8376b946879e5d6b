-- gate_windows: maximal runs of at least three consecutive layers that pass gates A, B and C
-- grain: run_id, subject, window_ix
-- source: issue 224, README of the published files (windows)
-- columns:
--   origin: extracted or published
--   window_ix: number of the window in layer order, from 1
--   first_layer: its first layer
--   last_layer: its last layer, which passes too
--   n_layers: its layers
with passing as (
  select run_id, subject, origin, layer from attention_gates where gate_d
),
limits as (
  select max(value) filter (name = 'window_layers') as layers from thresholds
),
numbered as (
  select *, layer - row_number() over (partition by run_id, subject, origin order by layer) as island from passing
),
islands as (
  select run_id, subject, origin, island, min(layer) as first_layer, max(layer) as last_layer, count(*) as n_layers
  from numbered
  group by run_id, subject, origin, island
),
final as (
  select
    i.run_id,
    i.subject,
    i.origin,
    row_number() over (partition by i.run_id, i.subject, i.origin order by i.first_layer) as window_ix,
    i.first_layer,
    i.last_layer,
    i.n_layers
  from islands as i
  cross join limits as l
  where i.n_layers >= l.layers
)
select * from final
