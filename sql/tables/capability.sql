-- capability: multiple-choice questions answered by the log-probability of their choices, one row per question
-- key: run_id, task, question_id
-- sort: task, question_id
-- outcomes: correct, choice
create table capability (
  run_id varchar, -- the run
  checkpoint varchar, -- short name of the checkpoint
  task varchar, -- name and version of the task
  question_id varchar, -- the question: the unit of replication
  question varchar, -- its text
  answer integer, -- index of the right choice, from 0
  choice integer, -- choice with the largest summed log-probability
  choice_normalised integer, -- choice with the largest log-probability per character
  correct boolean, -- choice is the answer
  correct_normalised boolean, -- choice_normalised is the answer
  log_probs double[], -- summed log-probability of each choice, in nats
  n_tokens integer[], -- tokens of each choice
  n_characters integer[] -- characters of each choice
);
