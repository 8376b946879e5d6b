-- attributions: what each head, MLP, bias and the embedding add directly to the target's logit, with the final norm's scale frozen at its value
-- key: run_id, example_id, sample_ix, stratum, layer, component, head
-- sort: stratum, component, layer, head, prompt_form, question_id, example_id, sample_ix
create table attributions (
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
  layer integer, -- decoder layer, from 0 (NULL of embedding and bias)
  component varchar, -- embedding, head, attn_bias (of the output projection), mlp, bias (of final norm and unembedding)
  head integer, -- query head, from 0 (NULL unless component is head)
  direct real, -- direct contribution to the target's logit, before any soft cap; all rows of an example sum to it
  direct_margin real, -- the same to the target's logit minus the runner-up's: the likeliest other token
  bos real, -- of heads: attention of the row at `position` to the first token
  entropy real -- of heads: entropy of that row, nats
);
