-- projections: how far an activation lies along a direction, at one token of a prompt or an answer or as the mean over an answer
-- key: run_id, example_id, sample_ix, stratum, turn, position, layer, site, directions_run, direction
-- sort: layer, site, direction, stratum, persona, example_id, sample_ix, position
create table projections (
  run_id varchar, -- the run
  subject varchar, -- checkpoint plus whose tokens it read: librarian, base_librarian
  checkpoint varchar, -- short name of the checkpoint that read the tokens
  persona varchar, -- persona of the system prompt
  condition varchar, -- system-prompt condition (NULL where there is one only)
  question_id varchar, -- the question: the unit of replication
  half varchar, -- half of the questions it belongs to: a or b
  example_id varchar, -- <persona>/<question_id>, unique within the prompt set
  sample_ix integer, -- number of the repeat of one example (NULL for a place in the prompt, which all repeats share)
  stratum varchar, -- answer or prompt (every token of it), last, last_system, marker, answer_mean as in table activations, or turn_mean (one answer of a conversation)
  position integer, -- absolute token index, from 0 (NULL for a mean)
  token varchar, -- the token as text (NULL of a mean)
  step integer, -- number of the token within the answer or prompt, from 0 (NULL at other places)
  turn integer, -- number of the exchange of a conversation, from 0 (of turn_mean alone)
  n_positions integer, -- tokens averaged: 1 for a single token
  layer integer, -- decoder layer, from 0, as in table activations
  site varchar, -- resid_pre, attn_out, mlp_out or resid_post, as in table activations
  directions_run varchar, -- run of the direction (table directions)
  direction varchar, -- its name there
  kind varchar, -- its kind there: random, random_in_span and shuffled are controls
  made_on varchar, -- questions the direction was made on: a, b or all (NULL: on no questions)
  value real, -- inner product of the activation with the direction of length 1, in units of the activations; of a mean the mean over its tokens
  activation_norm real -- length of the activation, of a mean the mean length over its tokens
);
