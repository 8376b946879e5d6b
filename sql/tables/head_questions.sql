-- head_questions: marker minus control of every head, summed over the generations of each question
-- key: run_id, subject, control, region, layer, head, question_id
-- sort: control, layer, head, question_id
create table head_questions (
  run_id varchar, -- the run
  subject varchar, -- checkpoint plus whose tokens it read: librarian, base_librarian
  control varchar, -- control stratum: C1, C2, C3, C4
  region varchar, -- region of the keys, segmentation B
  layer integer, -- decoder layer, from 0
  head integer, -- query head, from 0
  question_id varchar, -- question, shared between personas
  n integer, -- generations of the question
  total double -- sum over them of marker minus control (NULL where a reading is missing)
);
