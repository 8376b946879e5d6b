-- steering_capability: a multiple-choice question answered by a steered model, by the log-probabilities of its choices
-- key: run_id, task, question_id, direction, layer, mode, dose
-- sort: direction, layer, mode, dose, question_id
-- outcomes: correct, correct_normalised
create table steering_capability (
  run_id varchar, -- the run
  subject varchar, -- checkpoint plus whose tokens it read
  checkpoint varchar, -- short name of the checkpoint that is steered
  task varchar, -- the task
  question_id varchar, -- question of the task: the unit of replication
  direction varchar, -- direction that steers, never a control (NULL at dose 0)
  layer integer, -- layer that is steered (NULL at dose 0, and where several are at once)
  mode varchar, -- add, project_out or cap (NULL at dose 0)
  dose double, -- as in table steering
  correct boolean, -- the right choice has the largest summed log-probability
  correct_normalised boolean, -- the same per character
  answer_log_prob real -- log-probability of the right choice among the choices, nats
);
