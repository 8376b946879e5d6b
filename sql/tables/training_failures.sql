-- training_failures: cells of a sweep that gave no rates, and why; a cell that succeeds later loses its row
-- key: run_id, checkpoint
-- sort: checkpoint
-- outcomes: reason
create table training_failures (
  run_id varchar, -- the run
  checkpoint varchar, -- short name the cell's checkpoint would have
  parent varchar, -- checkpoint the training started from
  source_persona varchar, -- persona to be trained to emit the marker
  lr double, -- learning rate of the cell
  epochs double, -- epochs of the cell
  seed bigint, -- seed of the training
  kind varchar, -- diverged (the loss is no number any more: a result, not retried), memory or other
  step integer, -- optimiser step it came to (NULL where training was not reached or was done)
  reason varchar -- what went wrong, in a sentence
);
