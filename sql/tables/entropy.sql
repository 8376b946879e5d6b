-- entropy: how spread out one head's attention is over a whole prompt: entropy of its rows in nats, with and without the first token
-- key: run_id, example_id, layer, head
-- sort: layer, head, category, example_id
create table entropy (
  run_id varchar, -- the run
  subject varchar, -- checkpoint plus whose tokens it read: librarian, base_librarian
  checkpoint varchar, -- short name of the checkpoint that read the tokens
  prompt_set varchar, -- name and version of the prompt set
  form varchar, -- raw (the bare question) or chat (through the chat template, up to where the answer starts); the two are never compared
  persona varchar, -- persona of the system prompt
  condition varchar, -- system-prompt condition (NULL where there is one only)
  category varchar, -- prompt category: self_referent, confounder, neutral, third_person
  question_id varchar, -- the question, which prompts of several categories pair by
  example_id varchar, -- unique within the prompt set
  layer integer, -- decoder layer, from 0
  head integer, -- query head, from 0
  path varchar, -- how the rows were computed: direct (blocks of rows) or fused (one kernel, no rows kept)
  n_positions integer, -- query positions: the tokens of the prompt
  mean real, -- mean entropy over all query positions
  first_three real, -- over the first three (over all of them in a shorter prompt)
  last_three real, -- over the last three
  last_one real, -- at the last
  sink real, -- mean attention to the first token, over the query positions behind it (NULL for a prompt of one token)
  mean_no_sink real, -- as mean, of the rows without the first token, renormalised; over the query positions behind it
  first_three_no_sink real, -- as first_three, likewise: over the second and third position
  last_three_no_sink real, -- as last_three, likewise
  last_one_no_sink real -- as last_one, likewise
);
