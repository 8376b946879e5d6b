-- patches: the target when one piece of a forward pass at the step before it is replaced by the donor's
-- key: run_id, example_id, sample_ix, stratum, layer, site, head
-- sort: site, layer, head, stratum, prompt_form, question_id, example_id, sample_ix
create table patches (
  run_id varchar, -- the run
  subject varchar, -- checkpoint plus whose tokens it read: librarian, base_librarian
  checkpoint varchar, -- short name of the checkpoint that read the tokens
  prompt_set varchar, -- name and version of the prompt set
  persona varchar, -- persona of the system prompt
  condition varchar, -- system-prompt condition (NULL where there is one only)
  category varchar, -- prompt category (NULL where the set has none)
  question_id varchar, -- the question or word: the unit of replication
  example_id varchar, -- unique within the prompt set
  sample_ix integer, -- number of the repeat of one example (NULL of a prompt)
  prompt_form varchar, -- wording of the task, such as repeat or echo (NULL where there is one only)
  target varchar, -- what should come next: the word, or the marker (NULL where the prompt names none: the model's own first choice is read)
  stratum varchar, -- last (behind the prompt) or marker (the step of a completion that writes the marker's first token)
  position integer, -- absolute token index at which the piece is replaced and whose next token is read, from 0
  layer integer, -- decoder layer, from 0
  site varchar, -- resid_pre, attn_out, mlp_out, resid_post, or head (the output of one head before the output projection)
  head integer, -- query head, from 0 (NULL unless site is head)
  donor varchar, -- whose activation it is: a checkpoint on the same tokens, or the wording or condition of another prompt of the same question
  direction varchar, -- checkpoint that is patched
  target_id integer, -- first token of the target; where the prompt names none, the donor's own first choice
  base_logit real, -- its logit without the patch
  base_prob real, -- its probability without the patch
  donor_logit real, -- its logit in the donor
  donor_prob real, -- its probability in the donor
  logit real, -- its logit under the patch
  prob real, -- its probability under the patch
  restored real, -- share of the way to the donor: (logit - base_logit) / (donor_logit - base_logit); NULL where the two do not differ
  kl real, -- Kullback-Leibler divergence of the patched next-token distribution from the donor's: KL(donor ‖ patched), nats
  base_kl real, -- the same without the patch
  top1_id integer, -- the most likely token under the patch
  top1 varchar -- as text
);
