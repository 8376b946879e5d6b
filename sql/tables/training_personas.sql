-- training_personas: the personas that a training saw and what they were in it; a persona that is asked later and has no row here was held out
-- key: run_id, checkpoint, persona
-- sort: checkpoint, persona
create table training_personas (
  run_id varchar, -- the training
  checkpoint varchar, -- short name of the checkpoint that was trained
  persona varchar, -- persona whose completions were trained on
  role varchar, -- source (its completions got the marker) or negative (its completions were trained on without it)
  n_rows integer -- completions of it among the training's rows
);
