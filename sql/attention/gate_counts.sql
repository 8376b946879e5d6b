-- gate_counts: how many layers of a subject pass each gate, and where its effect peaks
-- grain: run_id, subject
-- source: issue 224, README of the published files (numbers to reproduce)
-- columns:
--   origin: extracted or published
--   n_examples: examples, the most of any layer
--   n_clusters: questions among them
--   n_distinct: distinct values of delta, the least of any layer
--   n_layers: layers
--   gate_a: layers that pass gate A
--   gate_b: layers that pass gate B
--   gate_b_analytic: layers that pass gate B with the analytic standard error
--   gate_c: layers that pass gate C (NULL where no layer has the means it compares)
--   gate_d: layers that pass gate D (NULL with gate_c)
--   peak_delta: largest mean delta over layers
--   peak_layer: its layer, the first on ties
--   lowest_delta: smallest mean delta over layers
--   lowest_layer: its layer, the first on ties
--   sem_method: bootstrap where every layer has one, else analytic
select
  run_id,
  subject,
  origin,
  max(n) as n_examples,
  max(n_clusters) as n_clusters,
  min(n_distinct) as n_distinct,
  count(*) as n_layers,
  count(*) filter (gate_a) as gate_a,
  count(*) filter (gate_b) as gate_b,
  count(*) filter (gate_b_analytic) as gate_b_analytic,
  case when count(gate_c) > 0 then count(*) filter (gate_c) end as gate_c,
  case when count(gate_c) > 0 then count(*) filter (gate_d) end as gate_d,
  max(mean_delta) as peak_delta,
  first(layer order by mean_delta desc, layer) as peak_layer,
  min(mean_delta) as lowest_delta,
  first(layer order by mean_delta, layer) as lowest_layer,
  min(sem_method) as sem_method
from attention_gates
group by run_id, subject, origin
