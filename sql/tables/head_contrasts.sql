-- head_contrasts: marker minus control of every head, mean over examples, for every stored part of a row
-- key: run_id, subject, control, layer, head
-- sort: control, layer, head
-- rollup of: attention, contrast_weights
select
  a.run_id,
  a.subject,
  any_value(a.checkpoint) as checkpoint,
  any_value(a.persona) as persona,
  w.control,
  a.layer,
  a.head,
  any_value(w.n) as n,
  count(*) = count(a.row_sum) as complete, -- no reading is missing at the positions it needs
  sum(w.weight * a.system) as system, -- mean difference of the fraction on content tokens of the system block
  sum(w.weight * a."user") as "user", -- the same on content tokens of the user turn
  sum(w.weight * a.assistant) as assistant, -- the same on content tokens of the answer
  sum(w.weight * a.system_structural) as system_structural, -- the same on structural tokens of the system block
  sum(w.weight * a.user_structural) as user_structural, -- the same on structural tokens of the user turn
  sum(w.weight * a.assistant_structural) as assistant_structural, -- the same on structural tokens of the answer
  sum(w.weight * a.header) as header -- the same on the assistant header
from attention as a
join contrast_weights as w using (run_id, subject, example_id, sample_ix, position)
group by a.run_id, a.subject, w.control, a.layer, a.head
