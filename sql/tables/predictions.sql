-- predictions: what the model itself says where a target should come next, and whether it is the target: does the model do the task?
-- key: run_id, example_id, sample_ix, stratum
-- sort: stratum, prompt_form, question_id, example_id, sample_ix
-- outcomes: correct, top1_token
create table predictions (
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
  stratum varchar, -- last (behind the prompt) or marker (the step of a completion that writes the marker's first token)
  position integer, -- absolute token index whose next token is read, from 0
  target_id integer, -- first token of the target, or the model's own first choice
  target_token varchar, -- that token as text
  n_target_tokens integer, -- tokens the target takes; more than 1 means that only its first is scored (NULL where the prompt names no target)
  top1_id integer, -- the most likely token
  top1_token varchar, -- as text
  runner_up_id integer, -- the second most likely token
  runner_up_token varchar, -- as text
  target_logit real, -- logit of the target
  target_prob real, -- its probability
  target_rank integer, -- 1: no token is likelier
  correct boolean, -- no token is likelier than the target (NULL where the prompt names none)
  logit_error real -- distance of the target's logit from the sum of its parts (NULL where it was not taken apart)
);
