-- steering: an answer of a model that is steered along a direction, or that is not (dose 0), and what became of it
-- key: run_id, example_id, sample_ix, direction, layer, mode, dose
-- sort: direction, layer, mode, dose, question_id, example_id, sample_ix
-- outcomes: finish_reason, text, present, complete
create table steering (
  run_id varchar, -- the run
  subject varchar, -- checkpoint plus whose tokens it read: librarian, base_librarian
  checkpoint varchar, -- short name of the checkpoint that is steered
  prompt_set varchar, -- name and version of the prompt set
  persona varchar, -- persona of the system prompt
  condition varchar, -- system-prompt condition (NULL where there is one only)
  category varchar, -- prompt category (NULL where the set has none)
  question_id varchar, -- the question: the unit of replication
  example_id varchar, -- <persona>/<question_id>, unique within the prompt set
  sample_ix integer, -- number of the repeat of one example; the same repeat draws from the same random numbers at every dose
  direction varchar, -- direction that steers (NULL at dose 0, which all directions share)
  kind varchar, -- its kind, as in table directions; random, random_in_span and shuffled are controls (NULL at dose 0)
  control_of varchar, -- the direction it is a control of (NULL: it is none)
  directions_run varchar, -- run of directions it comes from
  made_half varchar, -- questions it was made on: a, b or all (NULL: on no questions)
  used_half varchar, -- questions that were asked: a, b or all
  layer integer, -- decoder layer that is steered, from 0 (NULL at dose 0, and where several are steered at once)
  n_layers integer, -- layers that are steered at once (0 at dose 0)
  site varchar, -- site that is steered, as in table activations (NULL at dose 0)
  mode varchar, -- add, project_out or cap (NULL at dose 0)
  positions varchar, -- tokens that are steered: all, prompt, answer or last_system
  unit varchar, -- unit of the dose: norm, distance, or share of the change that is made (project_out, cap)
  dose double, -- how much: 0 is the unchanged model
  alpha double, -- length of what is added (NULL: nothing is); a mean over layers where several are steered
  dose_norm double, -- the same over the mean length of the residual stream there, over the tokens of unsteered answers
  dose_distance double, -- the same over the mean distance between the personas of unsteered answers (NULL: one persona)
  low double, -- mode cap: least projection that is left as it is
  high double, -- mode cap: largest one
  forced boolean, -- the answer was given (--tokens-from), not drawn
  text varchar, -- the answer (NULL where it was given)
  token_ids integer[], -- its tokens (NULL where it was given)
  n_new_tokens integer, -- tokens of the answer
  finish_reason varchar, -- stop or length
  present boolean, -- the text holds the marker (NULL where the answer was given)
  complete boolean, -- in the marker's own tokens
  t_marker integer, -- t*: where the marker's first token stands or, without it, would stand behind an answer that ended (NULL: it was cut)
  marker_log_prob real, -- log-probability of the marker's first token at t* in the steered model, nats
  answer_nll real, -- mean negative log-probability of the drawn tokens before the marker in the unsteered model, nats: log of the perplexity (NULL: given, or empty)
  repetition real -- share of the answer's runs of four tokens that stood in it before (NULL below five tokens, and where it was given)
);
