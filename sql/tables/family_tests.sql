-- family_tests: p of every member of a family (the layers of a readout, the heads of a model), alone and adjusted for all of them, since members are picked
-- key: run_id, figure, first_run, second_run, subject, stratum, prompt_form, measure, donor, direction, site, layer, head
-- sort: figure, first_run, stratum, prompt_form, measure, layer, head
create table family_tests (
  run_id varchar, -- the run
  figure varchar, -- view whose figure is tested: attention_effects, end_of_answer_contrast, marker_lens, head_worths or patch_effects
  first_run varchar, -- run that was read; of marker_lens the trained one, of head_worths the attributions
  second_run varchar, -- the base run of marker_lens, the ablations of head_worths (NULL: none)
  subject varchar, -- subject that was read
  stratum varchar, -- control of attention_effects, else place that was read
  prompt_form varchar, -- phrasing of the task, none or all (NULL of attention)
  measure varchar, -- measure of head_worths, prob or logit of marker_lens, log_prob of patch_effects (NULL of attention)
  donor varchar, -- donor of patch_effects
  direction varchar, -- direction of patch_effects
  site varchar, -- site of patch_effects
  layer integer, -- decoder layer, from 0 (-1: the embeddings)
  head integer, -- query head, from 0 (NULL: whole layer)
  n integer, -- generations or prompts
  n_clusters integer, -- questions among them
  n_members integer, -- members of the family, tested together
  p double, -- two-sided sign-flip p of this member alone; null: both sides exchangeable within a question (NULL where it does not vary, and of end_of_answer_contrast)
  adjusted_p double, -- the same adjusted for all members of the family, max-T; of end_of_answer_contrast by bootstrap-t, as its samples are not paired
  bootstrap_t_p double, -- p of this member alone; null: a mean of 0, whatever the shape (bootstrap-t, questions drawn again)
  bootstrap_t_adjusted_p double, -- the same adjusted for all members of the family
  method varchar, -- what was resampled, and whether all flips were made
  resamples integer, -- flips; ten times as many where the first ones left an adjusted p undecided at 0.05
  seed bigint -- seed of the draws
);
