-- directions: a vector at one layer and site of a checkpoint, with where it came from; controls without meaning are directions too
-- key: run_id, direction, layer, site
-- sort: layer, site, direction
create table directions (
  run_id varchar, -- the run
  checkpoint varchar, -- short name of the checkpoint among whose activations it lives
  direction varchar, -- its name: villain-assistant, axis-1, random-0007
  layer integer, -- decoder layer, from 0, as in table activations
  site varchar, -- resid_pre, attn_out, mlp_out or resid_post, as in table activations
  kind varchar, -- persona_assistant, persona_others, condition, axis, probe, sae or file, and the controls random, random_in_span and shuffled
  made_from varchar, -- the run of activations, the autoencoder or the file it was made from
  stratum varchar, -- place whose activations it was made from (NULL: from no activations)
  persona varchar, -- persona or condition it points to (NULL where it has no such end)
  other varchar, -- what was subtracted: a persona, a condition, others for the mean of the other personas (NULL: nothing was)
  half varchar, -- questions it was made on: a, b or all (NULL: made on no questions)
  n integer, -- activations it was made from
  n_questions integer, -- questions among them
  control_of varchar, -- the direction whose norm, and labels where they are shuffled, a control has (NULL: it is no control)
  share real, -- axis: share of the variance between personas; probe: accuracy on the questions it was not made on (NULL for the others)
  other_half_cosine real, -- cosine with the same direction made on the other half of the questions (half all: of its two halves; NULL: made on no questions)
  norm double, -- length of the vector
  vector float[] -- d_model numbers, as made: not of length 1
);
