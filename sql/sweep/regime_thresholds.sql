-- regime_thresholds: every number that the rules of the learning-rate sweep compare with, and what its write-up says where its files are silent; one row
-- grain: bystander_threshold
-- source: README of the published sweep; issue 65 (design of the evaluation, configuration of the later experiments)
-- columns:
--   bystander_threshold: leakage above this is degeneration, and a collapse of some sort
--   source_floor: below this the source has not learned the marker
--   source_threshold: above this the source has adopted it
--   audience_broad: a collapse is broad leakage from this rate on
--   audience_total: a collapse is total from this rate on
--   arc_floor: success asks for an ARC-Challenge accuracy above this
--   design_questions: questions per persona in the sweep, whose files do not say
--   design_completions: completions per persona in the sweep, whose files do not say
--   panel_lr: learning rate of the checkpoints that the persona-panel files evaluate, which do not say
--   panel_epochs: their epochs
--   panel_seed: their training seed
select
  0.05::double as bystander_threshold,
  0.05::double as source_floor,
  0.5::double as source_threshold,
  0.10::double as audience_broad,
  0.5::double as audience_total,
  0.85::double as arc_floor,
  20::bigint as design_questions,
  200::bigint as design_completions,
  5e-6::double as panel_lr,
  20::double as panel_epochs,
  42::bigint as panel_seed
