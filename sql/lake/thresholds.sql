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
    ('diff_of_diffs_margin', 0.005, 'difference of differences: a layer counts as above or below beyond this, and within it as not moved'),
    ('rfc_margin', 0.01, 'role focus: a difference of RFC within this counts as none (the study counts a layer beyond it as changed)'),
    ('log_prob_margin', 0.1, 'ablations: a change of the log-probability within this counts as none, nats: about a tenth of the probability'),
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
    ('question_skewness', skewness_limit(), 'skewness of the means of questions, at least, for an interval to be called too short on one side (is_skewed)'),
    ('question_skewness_z', skewness_z(), 'the same in standard errors of a skewness under normality, above'),
    ('effective_clusters', 10, 'audit: effective number of questions behind an interval, at least'),
    ('steering_perplexity', 2.0, 'steering: a dose is said to break the model where answers are this many times as perplexing to the unsteered one, above'),
    ('steering_capability', 0.1, 'steering: a dose is said to break the model where the share of right answers to the task falls by more than this'),
    ('steering_saturation', 0.9, 'steering: a dose response saturates at the least dose that does this share of the largest effect, at least'),
    ('profile_reliability', 0.6, 'correlation of two profiles: below this reliability of either one it is too noisy to tell'),
    ('patching_epsilon', 0.05, 'patching candidates: share of the median self-referent base entropy that is added to entropies before their logarithm')
) as t(name, value, source)
