-- steering_projections: where the answers of a steered model lie along directions
-- key: run_id, example_id, sample_ix, direction, layer, mode, dose, read_direction
-- sort: read_direction, direction, layer, mode, dose, question_id, example_id, sample_ix
create table steering_projections (
  run_id varchar, -- the run
  subject varchar, -- checkpoint plus whose tokens it read
  checkpoint varchar, -- short name of the checkpoint that is steered
  persona varchar, -- persona of the system prompt
  question_id varchar, -- the question: the unit of replication
  example_id varchar, -- as in table steering
  sample_ix integer, -- as in table steering
  direction varchar, -- direction that steers (NULL at dose 0)
  layer integer, -- layer that is steered (NULL at dose 0, and where several are at once)
  mode varchar, -- add, project_out or cap (NULL at dose 0)
  dose double, -- as in table steering
  read_direction varchar, -- direction along which the answer is read
  read_layer integer, -- layer of it
  read_site varchar, -- site of it
  value real -- mean over the tokens of the answer of the projection on the direction's unit vector
);
