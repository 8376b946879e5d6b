-- features: sparse-autoencoder features that fire at one chosen place of a prompt or an answer; features that do not fire have no row
-- key: run_id, example_id, sample_ix, stratum, layer, feature
-- sort: stratum, layer, condition, persona, example_id, sample_ix, feature
create table features (
  run_id varchar, -- the run
  subject varchar, -- checkpoint plus whose tokens it read: librarian, base_librarian
  checkpoint varchar, -- short name of the checkpoint that read the tokens
  prompt_set varchar, -- name and version of the prompt set
  persona varchar, -- persona of the system prompt
  condition varchar, -- system-prompt condition (NULL where there is one only)
  category varchar, -- question category
  question_id varchar, -- the question: the unit of replication
  example_id varchar, -- <persona>/<condition>/<question_id>, unique within the prompt set
  sample_ix integer, -- number of the repeat of one example (NULL for a place in the prompt, which all repeats share)
  stratum varchar, -- last, last_system, marker or answer_mean (the mean activation encoded, not the mean of what its tokens fire), as in table activations
  position integer, -- absolute token index, from 0 (NULL for a mean)
  input_hash varchar, -- hash of the tokens the activation is computed from; equal inputs give equal features
  sae_id varchar, -- the sparse autoencoder (table sae)
  layer integer, -- decoder layer, from 0
  site varchar, -- resid_pre, resid_post, attn_out or mlp_out
  feature integer, -- number of the feature, from 0
  value real -- its activation, above 0
);
