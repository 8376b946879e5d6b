-- ablations: the next token when the output of one head is taken out of the forward pass at every position
-- key: run_id, example_id, sample_ix, stratum, layer, head, method, scale
-- sort: method, scale, layer, head, stratum, prompt_form, question_id, example_id, sample_ix
create table ablations (
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
  target_id integer, -- first token of the target, or the first choice of the unchanged model
  base_logit real, -- the target's logit without the ablation
  logit real, -- with it
  base_prob real, -- the target's probability without the ablation
  prob real, -- with it
  base_margin real, -- the target's logit minus that of the likeliest other token, without the ablation (NULL of runs that did not keep it)
  margin real, -- the same with it, the likeliest other token being that of the ablated model
  kl real, -- Kullback-Leibler divergence of the ablated next-token distribution from the unchanged one: KL(unchanged ‖ ablated), nats
  base_top1_id integer, -- the most likely token without the ablation
  base_top1 varchar, -- as text
  top1_id integer, -- with it
  top1 varchar, -- as text
  gained varchar[], -- the tokens that gained most probability, as text
  gained_change float[], -- what each of them gained
  sieve real -- of method zero: first-order estimate of logit - base_logit from one backward pass (attribution patching)
);
