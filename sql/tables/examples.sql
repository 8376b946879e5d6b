-- examples: rows of a prompt set; a run that read a checkpoint adds them as its chat template renders them
-- key: run_id, example_id
-- sort: example_id
create table examples (
  run_id varchar, -- the run
  prompt_set varchar, -- name and version of the prompt set
  example_id varchar, -- <persona>/<question_id>, unique within the prompt set
  persona varchar, -- persona of the system prompt
  condition varchar, -- system-prompt condition (NULL where there is one only)
  category varchar, -- question category
  question_id varchar, -- the question: the unit of replication
  system_prompt varchar, -- system message (NULL: none was given, the chat template decides; <no system turn>: none was written)
  question varchar, -- user message
  prompt_form varchar, -- phrasing of the task where there are several
  target varchar, -- expected answer where there is one
  text varchar, -- prompt as rendered by the chat template (NULL in a run that only brought the prompts in)
  token_ids integer[], -- token ids of the rendered prompt
  prompt_len integer, -- tokens of the rendered prompt
  n_system integer, -- tokens of the system block
  n_user integer, -- tokens of the user turn
  n_header integer, -- tokens of the assistant header
  template_hash varchar -- hash of the chat template
);
