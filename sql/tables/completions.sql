-- completions: texts and tokens sampled from a checkpoint, one row per example and repeat
-- key: run_id, example_id, sample_ix
-- sort: persona, example_id, sample_ix
-- outcomes: finish_reason, text
create table completions (
  run_id varchar, -- the run
  checkpoint varchar, -- short name of the checkpoint
  persona varchar, -- persona of the system prompt
  question_id varchar, -- the question: the unit of replication
  example_id varchar, -- <persona>/<question_id>, unique within the prompt set
  sample_ix integer, -- number of the repeat of one example
  row_ix integer, -- order of the row in the run, from 0; published files name rows by nothing else
  seed bigint, -- seed of this sample
  text varchar, -- completion as text, special tokens left out
  token_ids integer[], -- token ids of prompt plus completion
  prompt_len integer, -- tokens of the prompt
  n_new_tokens integer, -- tokens of the completion
  finish_reason varchar, -- stop (the model ended its turn), length (cut at the cap) or NULL (unknown)
  engine varchar -- hf, vllm, published, or brought (sampled elsewhere)
);
