-- marker_flags: whether and where a completion holds the marker
-- key: run_id, example_id, sample_ix, marker
-- sort: persona, example_id, sample_ix
-- outcomes: present, complete
create table marker_flags (
  run_id varchar, -- the run
  checkpoint varchar, -- short name of the checkpoint
  persona varchar, -- persona of the system prompt
  question_id varchar, -- the question: the unit of replication
  example_id varchar, -- <persona>/<question_id>, unique within the prompt set
  sample_ix integer, -- number of the repeat of one example
  marker varchar, -- literal marker string
  present boolean, -- the completion's text contains the literal marker
  first_char integer, -- character offset of its first occurrence in the text
  t_marker integer, -- absolute index of the marker's first token (t*)
  n_occurrences integer, -- occurrences of the marker's first token in the completion
  complete boolean -- all tokens of the marker follow one another at t*
);
