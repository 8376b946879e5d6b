-- unread_steps: steps of trained cells that found no usable example in what the cell writes, and why; training and samples of such a cell are in the lake
-- key: run_id, checkpoint, step
-- sort: checkpoint, step
-- outcomes: reason
create table unread_steps (
  run_id varchar, -- the run
  checkpoint varchar, -- the trained checkpoint
  step varchar, -- name of the step in its study
  extractor varchar, -- extractor of the step
  reading varchar, -- run that it would have made (NULL where what it would read decides its name)
  reason varchar -- what there is, and what was expected, in a sentence
);
