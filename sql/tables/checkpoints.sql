-- checkpoints: one set of weights, as it was read
-- key: run_id, checkpoint
-- sort: checkpoint
create table checkpoints (
  run_id varchar, -- the run
  checkpoint varchar, -- short name of the checkpoint
  id varchar, -- Hub id, tiny:<name>, or the folder or GGUF file as typed
  revision varchar, -- Hub commit, content hash of a local folder, or sha256 of a GGUF file
  family varchar, -- architecture: qwen2, llama, mistral
  variant varchar, -- base, instruct, marker
  parent varchar, -- checkpoint it was trained from
  source_persona varchar, -- persona trained to emit the marker
  lr double, -- learning rate of its training
  epochs double, -- epochs of its training
  seed bigint, -- seed of its training
  n_layers integer, -- decoder layers in the configuration
  n_heads integer, -- query heads per layer in the configuration
  n_kv_heads integer, -- key-value heads per layer
  d_model integer, -- width of the residual stream
  vocab_size integer, -- rows of the embedding
  max_positions integer, -- tokens of the context it was configured for (NULL where its configuration sets no limit)
  lora_r integer, -- rank of the LoRA adapter as its own configuration states it (NULL for full weights)
  lora_alpha double, -- its alpha
  lora_dropout double, -- its dropout in training
  lora_targets varchar, -- modules it changes
  path varchar, -- folder the weights were read from
  quantisation varchar, -- of weights from a GGUF file: its own word and the tensors of each type; how an engine quantised them (NULL for weights read as they were saved)
  step integer -- optimiser step of its training behind which it was kept, 0 before the first (NULL: it was trained to its end, or not here)
);
