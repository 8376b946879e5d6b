-- logit_lens: the tokens that the residual stream behind one layer would say next, through the model's final norm and unembedding
-- key: run_id, example_id, sample_ix, stratum, position, layer, rank
-- sort: stratum, layer, rank, prompt_form, question_id, example_id, sample_ix, position
-- outcomes: token, script
create table logit_lens (
  run_id varchar, -- the run
  subject varchar, -- checkpoint plus whose tokens it read: librarian, base_librarian
  checkpoint varchar, -- short name of the checkpoint that read the tokens
  prompt_set varchar, -- name and version of the prompt set
  persona varchar, -- persona of the system prompt
  condition varchar, -- system-prompt condition (NULL where there is one only)
  category varchar, -- prompt category (NULL where the set has none)
  question_id varchar, -- the question or word: the unit of replication
  example_id varchar, -- unique within the prompt set
  sample_ix integer, -- number of the repeat of one example (NULL of a prompt)
  prompt_form varchar, -- wording of the task, such as repeat or echo (NULL where there is one only)
  target varchar, -- what should come next: the word, or the marker (NULL where the prompt names none: the model's own first choice is read)
  stratum varchar, -- last, marker (the step before the target) or every (any other position, read for the same target)
  position integer, -- absolute token index, from 0
  layer integer, -- decoder layer, from 0; -1: the embeddings
  rank integer, -- 1: the most likely token
  token_id integer, -- the token
  token varchar, -- as text
  script varchar, -- script most of its letters are written in: Latin, Han, Cyrillic, ... (NULL without letters)
  logit real, -- its logit
  prob real, -- its probability
  target_id integer, -- first token of the target, or the model's own first choice; on rank 1 alone, as the following
  target_rank integer, -- 1: no token is likelier
  target_prob real, -- its probability
  target_logit real -- its logit
);
