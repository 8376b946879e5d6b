-- ablation_generations: what a checkpoint goes on to say, greedily, when the output of one head is changed at every step, beside what it says unchanged
-- key: run_id, example_id, sample_ix, stratum, layer, head, method, scale
-- sort: method, scale, layer, head, question_id, example_id, sample_ix
-- outcomes: text
create table ablation_generations (
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
  target varchar, -- what should come next: the word, or the marker (NULL where the prompt names none: the first choice of the unchanged model is read)
  stratum varchar, -- last (behind the prompt) or marker (the step of a completion that writes the marker's first token)
  position integer, -- absolute token index whose next token is read, from 0
  layer integer, -- decoder layer of the head, from 0
  head integer, -- query head, from 0
  method varchar, -- what takes the place of the head's output at every position: zero, mean (of the run's prompts of the same wording and category), resample (another such prompt, aligned at the end), scale (the output times `scale`)
  scale real, -- factor of method scale (NULL of the others)
  base_text varchar, -- greedy continuation of the unchanged model
  text varchar, -- under the ablation
  token_ids integer[], -- tokens of text
  same boolean, -- both continuations are the same tokens
  n_same integer, -- tokens they share from the start
  base_nll real, -- mean negative log-likelihood of base_text per token in the unchanged model, nats
  nll real -- the same in the ablated model
);
