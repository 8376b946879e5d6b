-- turns: the answers of a conversation, and where each lies among the tokens of the completion that ends it
-- key: run_id, example_id, sample_ix, turn
-- sort: persona, example_id, sample_ix, turn
create table turns (
  run_id varchar, -- the run
  checkpoint varchar, -- short name of the checkpoint that gave the answers
  prompt_set varchar, -- name and version of the prompt set
  persona varchar, -- persona of the system prompt
  question_id varchar, -- the conversation: the unit of replication
  example_id varchar, -- <persona>/<question_id>, with # and its number for a repeat, whose prompt is another one
  sample_ix integer, -- number of the repeat
  turn integer, -- number of the exchange, from 0
  question varchar, -- the user's message
  text varchar, -- the answer
  start integer, -- absolute index of the answer's first token
  stop integer -- index behind its last token that is not special
);
