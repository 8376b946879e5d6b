-- bootstrap_errors: bootstrap standard errors that belong to the data now in the lake, by the run they were computed from
-- grain: input_run, subject, quantity, region, control, layer
-- source: issue 224, README of the published files: default_rng(42), 1000 resamples of n examples, standard deviation (n-1) of the means
-- columns:
--   input_run: run the examples came from
--   quantity: what was averaged: delta (marker minus control) or ruleout (delta_c1 minus delta_ck)
--   control: control stratum: C1, C2, C3, C4
--   n: examples with a value
--   mean: mean over examples
select s.inputs[1] as input_run, e.subject, e.quantity, e.region, e.control, e.layer, e.n, e.mean, e.sem, e.method, e.resamples, e.seed
from bootstrap as e
join analysis_standing as s using (run_id)
where s.is_current
