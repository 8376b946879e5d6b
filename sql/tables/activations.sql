-- activations: the residual stream, or what attention or MLP adds to it, at one chosen place of a prompt or an answer
-- key: run_id, example_id, sample_ix, stratum, layer, site
-- sort: stratum, site, layer, persona, example_id, sample_ix
create table activations (
  run_id varchar, -- the run
  subject varchar, -- checkpoint plus whose tokens it read: librarian, base_librarian
  checkpoint varchar, -- short name of the checkpoint that read the tokens
  persona varchar, -- persona of the system prompt
  condition varchar, -- system-prompt condition (NULL where there is one only)
  question_id varchar, -- the question: the unit of replication
  example_id varchar, -- <persona>/<question_id>, unique within the prompt set
  sample_ix integer, -- number of the repeat of one example (NULL for a place in the prompt, which all repeats share)
  stratum varchar, -- last (last token of the prompt), last_system (last token of the system block), marker, answer_mean (mean over the answer without special tokens at its end)
  position integer, -- absolute token index, from 0 (NULL for a mean)
  n_positions integer, -- tokens averaged: 1 for a single token
  input_hash varchar, -- hash of the tokens the vector is computed from; equal inputs give equal vectors, up to rounding
  layer integer, -- decoder layer, from 0
  site varchar, -- resid_pre (input of the layer), attn_out, mlp_out (what each adds), resid_post (output of the layer)
  vector float[] -- d_model numbers
);
