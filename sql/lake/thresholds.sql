-- thresholds: every number that a rule compares with, so that no view hides one
-- grain: name
-- source: issue 224, README of the published files (gates, rule-outs, difference of differences); README of mduffster/self-referent-test; near zero own
-- columns:
--   name: what the number is called here
--   value: the number
--   source: rule it comes from
select *
from (
  values
    ('gate_direction', 0.70, 'gate A: share of examples with delta above 0, at least'),
    ('window_layers', 3, 'windows: consecutive layers that pass A, B and C, at least'),
    ('diff_of_diffs_margin', 0.005, 'difference of differences: a layer counts as above or below beyond this'),
    ('trajectory_lead', 5, 'gate F: steps between the early step and the marker'),
    ('trajectory_end_offset', 2, 'gate F: the published trajectories end this many steps after the marker'),
    ('trajectory_ratio', 0.5, 'gate F: reframe when the early step reaches more than this share of the marker'),
    ('midrun_examples', 50, 'mid-run gate: examples looked at'),
    ('midrun_snr', 2.0, 'mid-run gate: signal to noise per layer, at least'),
    ('midrun_layers', 3, 'mid-run gate: consecutive layers, at least'),
    ('published_positives_per_question', 10, 'published generation: a question stopped at this many positives'),
    ('published_trials_per_question', 30, 'published generation: trials of a question that did not'),
    ('preflight_margin', 0.05, 'preflight: difference of the marker rate between attention implementations that is allowed, unless the run sets its tolerance'),
    ('near_zero_entropy', 0.05, 'role focus: a head whose entropy on neutral prompts is below this (nats) is left out where ratios are averaged without such heads'),
    ('autoencoder_unexplained', 0.5, 'audit: share of the squared activations that an autoencoder leaves unexplained, at least, for its features to be doubted'),
    ('patching_epsilon', 0.05, 'patching candidates: share of the median self-referent base entropy that is added to entropies before their logarithm')
) as t(name, value, source)
