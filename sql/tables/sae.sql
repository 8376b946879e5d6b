-- sae: a sparse autoencoder of one layer, as it was trained here or read from files, with the rule by which its features fire
-- key: run_id, sae_id
-- sort: layer, sae_id
create table sae (
  run_id varchar, -- the run
  checkpoint varchar, -- short name of the checkpoint it was trained on (here), or whose activations it encoded
  sae_id varchar, -- <checkpoint, folder or Hub name>-<layer>-<hash of the files, or of Hub commit and path>: the same reference has the same name everywhere
  layer integer, -- decoder layer whose activations it encodes, from 0
  site varchar, -- resid_pre, resid_post, attn_out or mlp_out
  source varchar, -- folder as typed, Hub id, or the run that trained it
  revision varchar, -- Hub commit, or content hash of a local folder
  format varchar, -- dictionary_learning, sae_lens or personascope
  architecture varchar, -- standard, topk, batchtopk or jumprelu
  k integer, -- features that fire per token in training (NULL where the architecture has no such number)
  n_features integer, -- width of the dictionary
  d_model integer, -- width of the activations
  inference varchar, -- rule that was applied: relu, threshold or topk
  threshold double, -- pre-activation above which a feature fires: one number, or the mean over features where each has its own (NULL under topk and relu)
  neuronpedia varchar, -- <model>/<source> under which Neuronpedia shows its features (NULL where the files name none)
  l0 double, -- mean number of features that fire per token, over the held-out tokens of its training (NULL where not trained here)
  explained_variance double, -- 1 minus the fraction of variance unexplained on those tokens (massive ones outweigh all others: the run's explained_variance_ordinary leaves them out)
  dead_share double, -- share of features that fire on none of the training tokens
  n_tokens bigint -- tokens it was trained on
);
