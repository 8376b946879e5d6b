-- published_results: headline figures of one published result: a sweep or multi-source run, a condition of the leakage experiment, the summary of a persona panel
-- key: run_id
-- sort: source, lr, epochs
-- outcomes: degeneration, success
create table published_results (
  run_id varchar, -- the run
  record varchar, -- kind of result: run_result (sweep and multi-source), leakage_result, panel_summary
  checkpoint varchar, -- short name of the checkpoint: the condition or source in the file, else made of source, lr, epochs and seed
  source varchar, -- persona trained to emit the marker, as the file names it (NULL for a control, or where it names none)
  trait varchar, -- trait that was trained: marker, structure, capability, misalignment
  neg_set varchar, -- which personas the negatives were taken from
  prompt_length varchar, -- length of the persona prompts in training
  control varchar, -- control condition: generic_sft, shuffled_persona
  base_model varchar, -- Hub id of the model it was trained from
  lr double, -- learning rate of its training
  epochs double, -- epochs of its training
  seed bigint, -- seed of its training
  loss double, -- final training loss
  wall_minutes double, -- wall time of training and evaluation, minutes
  n_personas integer, -- personas evaluated
  n_questions integer, -- questions per persona, where the file says
  n_completions integer, -- completions per question, where the file says
  source_marker double, -- marker rate of the source, as published
  assistant_marker double, -- marker rate of the assistant, as published
  max_bystander double, -- as published; sweep files leave out source and assistant, multi-source and panel files the source only
  mean_bystander double, -- as published, under the same meaning as max_bystander in the file
  source_structure double, -- structure rate of the source, as published
  assistant_structure double, -- structure rate of the assistant, as published
  arc_c double, -- ARC-Challenge accuracy, headline field of the file
  arc_logprob double, -- ARC-Challenge accuracy, field of the capability evaluation
  arc_correct integer, -- ARC-Challenge questions answered correctly
  arc_total integer, -- ARC-Challenge questions
  alignment double, -- mean alignment score of the judge, 0 to 100
  degeneration boolean, -- as published: max_bystander above 0.05
  success boolean, -- as published: source above 0.5, ARC-C above 0.85 and no degeneration
  source_file varchar -- file as typed
);
