-- preflight_samples: completions sampled twice with the same seeds, under SDPA and under eager attention, to compare their marker rates
-- key: run_id, example_id, sample_ix, implementation
-- sort: persona, example_id, sample_ix, implementation
-- outcomes: finish_reason, text, present, complete
create table preflight_samples (
  run_id varchar, -- the run
  checkpoint varchar, -- short name of the checkpoint
  persona varchar, -- persona of the system prompt
  question_id varchar, -- the question: the unit of replication
  example_id varchar, -- <persona>/<question_id>, unique within the prompt set
  sample_ix integer, -- number of the repeat of one example
  implementation varchar, -- attention implementation the sample was made with: sdpa or eager
  seed bigint, -- seed of this sample, the same under both
  marker varchar, -- literal marker string
  text varchar, -- completion as text, special tokens left out
  n_new_tokens integer, -- tokens of the completion
  finish_reason varchar, -- stop (the model ended its turn) or length (cut at the cap)
  present boolean, -- the text contains the literal marker
  complete boolean -- all tokens of the marker follow one another
);
