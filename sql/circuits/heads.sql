-- heads: every figure of a single head side by side: attention at the marker, what training changed, selection on half of the questions, worth of patching,
--   direct attribution and ablation on a task and at the marker
-- grain: run_id, subject, checkpoint, base_run, layer, head
-- source: own; the views head_deltas, head_selection, patching_candidates and head_effects joined. Candidates of a family stand beside a checkpoint of that architecture with
--   as many layers and heads: the same place in another set of weights, of several files the first. Each candidate has a row of its own besides, and so has each head
--   of a checkpoint without a readout at the marker. Effects are those of the newest runs of the checkpoint on its own prompts or tokens, all phrasings together
-- columns:
--   origin: extracted or published
--   checkpoint: checkpoint that was read; of a published candidate the base model of the family
--   tokens_from: checkpoint that sampled the tokens (NULL of a published candidate)
--   forced: the reader is another checkpoint than the one that sampled the tokens (NULL of a published candidate)
--   base_run: run of the checkpoint that was force-fed the same tokens in the same precision (NULL where there is none)
--   base_checkpoint: checkpoint of base_run
--   n: generations with the marker and C1
--   delta_c1: mean over them of marker minus C1 on content of the system block
--   delta_c2: the same minus C2
--   delta_c3: the same minus C3
--   delta_c4: the same minus C4
--   base_delta_c1: delta_c1 of base_run
--   trained_minus_base: delta_c1 minus base_delta_c1
--   selection_rank: place by what training changed on the selection half of the questions, among all heads (NULL where halves were not computed)
--   selection_effect: that change on the selection half
--   evaluation_effect: the same on the other half, which did not decide the place
--   n_selection: generations of the selection half
--   n_evaluation: generations of the evaluation half
--   n_clusters_selection: questions of the selection half
--   n_clusters_evaluation: questions of the evaluation half
--   evaluation_low: lower end of its 95% interval, Student t over the questions of the evaluation half
--   evaluation_high: upper end
--   same_sign: both halves point the same way
--   shrinkage: share of selection_effect that is gone in the evaluation half
--   patching_family: model family whose published candidates hold this head (NULL where none do)
--   patching_rank: published order among the candidates of the family, from 1
--   patching_did: published difference in differences of its entropy, nats
--   patching_composite: published composite score
--   patching_p: exact sign test of patching_did, times the heads of the model
--   task_dla: mean direct contribution to the target's logit at the last token of prompts
--   task_dla_margin: the same to the target's logit minus the runner-up's
--   task_zero: mean change of the target's log-probability when the head is set to zero, nats
--   task_zero_adjusted_p: two-sided p of task_zero adjusted for all heads of the model (max-T, sign flips of questions; NULL: not computed)
--   task_zero_shrunken: task_zero drawn towards the mean of all heads by what noise makes of the largest of many
--   task_zero_margin: the same of the target's logit minus that of the likeliest other token (NULL of runs that did not keep it)
--   task_zero_logit: the same of the target's raw logit, which a shift that all logits share changes too
--   task_mean: mean change of the target's log-probability when the head is set to its mean over prompts, nats
--   task_kl_zero: mean KL divergence of the next-token distribution, nats, zero ablation
--   task_bos: mean attention to the first token, from the last token of prompts
--   n_task: prompts behind the task figures
--   focus_form: form of the prompts behind the role focus figures, raw or chat (NULL where entropies were not read); the newest reading of each checkpoint
--   rfc: Role Focus Coefficient, as in rfc_head
--   rsi: Role Separation Index
--   h_self: entropy on self-referent prompts, nats
--   h_neutral: entropy on neutral prompts, nats
--   focus_rank: of an instruct checkpoint: place of the head among its own patching candidates, by composite (NULL where its base was not read)
--   focus_did: difference in differences behind that place, nats
--   focus_p: p of that difference, signs of prompt pairs flipped, adjusted for all heads (NULL: not computed)
--   marker_dla: mean direct contribution to the logit of the marker's first token at the step that writes it
--   marker_dla_margin: the same to that logit minus the runner-up's
--   marker_zero: mean change of the log-probability of the marker's first token when the head is set to zero, nats
--   marker_zero_adjusted_p: two-sided p of marker_zero adjusted for all heads of the model
--   marker_zero_shrunken: marker_zero drawn towards the mean of all heads
--   marker_zero_margin: the same of its logit minus that of the likeliest other token (NULL of runs that did not keep it)
--   marker_zero_logit: the same of its raw logit
--   marker_kl_zero: mean KL divergence of the next-token distribution at that step, nats, zero ablation
--   n_marker: generations behind these
with readouts as (
  select run_id, subject, checkpoint, persona, tokens_from, forced from subjects where origin = 'extracted'
),
pairs as (
  select trained_run as run_id, trained_subject as subject, base_run, base_subject, base_checkpoint from subject_pairs where origin = 'extracted'
),
deltas as not materialized ( -- each of its two uses is bound to runs of its own, and opens their files alone
  select run_id, subject, layer, head, control, n, mean_delta from head_deltas where segmentation = 'B' and region = 'system'
),
selection as (
  select * exclude (trained_run, trained_subject), trained_run as run_id, trained_subject as subject from head_selection
),
candidates as (
  select * from patching_candidates where origin = 'published'
),
families as (
  select family, n_layers, n_heads, base from published_models
),
sizes as (
  select checkpoint, max(family) as family, max(n_layers) as n_layers, max(n_heads) as n_heads from checkpoints group by checkpoint
),
read as (
  select
    run_id,
    subject,
    layer,
    head,
    max(n) filter (control = 'C1') as n,
    max(mean_delta) filter (control = 'C1') as delta_c1,
    max(mean_delta) filter (control = 'C2') as delta_c2,
    max(mean_delta) filter (control = 'C3') as delta_c3,
    max(mean_delta) filter (control = 'C4') as delta_c4
  from deltas
  group by run_id, subject, layer, head
),
fed as (
  select p.run_id, p.subject, p.base_run, p.base_checkpoint, d.layer, d.head, d.mean_delta
  from pairs as p
  join deltas as d on d.run_id = p.base_run and d.subject = p.base_subject
  where d.control = 'C1'
),
placed as (
  select * from candidates qualify row_number() over (partition by family, layer, head order by run_id) = 1
),
architectures as (
  select s.checkpoint, f.family as patching_family
  from sizes as s
  join families as f on starts_with(s.family, f.family) and f.n_layers = s.n_layers and f.n_heads = s.n_heads
),
finished as (
  select run_id, finished from runs
),
newest as (
  select
    c.attribution_run,
    c.ablation_run,
    row_number() over (partition by c.checkpoint, c.tokens_run is null order by greatest(a.finished, b.finished) desc, c.attribution_run, c.ablation_run) as place
  from circuit_runs as c
  left join finished as a on a.run_id = c.attribution_run
  left join finished as b on b.run_id = c.ablation_run
  where c.subject = c.checkpoint and (a.run_id is not null or b.run_id is not null)
),
effects as (
  select
    e.checkpoint,
    e.layer,
    e.head,
    coalesce(max(e.ablation_run), max(e.attribution_run)) as run_id,
    max(e.dla) filter (e.stratum = 'last') as task_dla,
    max(e.dla_margin) filter (e.stratum = 'last') as task_dla_margin,
    max(e.zero) filter (e.stratum = 'last') as task_zero,
    max(e.zero_adjusted_p) filter (e.stratum = 'last') as task_zero_adjusted_p,
    max(e.zero_shrunken) filter (e.stratum = 'last') as task_zero_shrunken,
    max(e.zero_margin) filter (e.stratum = 'last') as task_zero_margin,
    max(e.zero_logit) filter (e.stratum = 'last') as task_zero_logit,
    max(e.mean) filter (e.stratum = 'last') as task_mean,
    max(e.kl_zero) filter (e.stratum = 'last') as task_kl_zero,
    max(e.bos_fraction) filter (e.stratum = 'last') as task_bos,
    max(e.n) filter (e.stratum = 'last') as n_task,
    max(e.dla) filter (e.stratum = 'marker') as marker_dla,
    max(e.dla_margin) filter (e.stratum = 'marker') as marker_dla_margin,
    max(e.zero) filter (e.stratum = 'marker') as marker_zero,
    max(e.zero_adjusted_p) filter (e.stratum = 'marker') as marker_zero_adjusted_p,
    max(e.zero_shrunken) filter (e.stratum = 'marker') as marker_zero_shrunken,
    max(e.zero_margin) filter (e.stratum = 'marker') as marker_zero_margin,
    max(e.zero_logit) filter (e.stratum = 'marker') as marker_zero_logit,
    max(e.kl_zero) filter (e.stratum = 'marker') as marker_kl_zero,
    max(e.n) filter (e.stratum = 'marker') as n_marker
  from head_effects as e
  join newest as w on w.attribution_run is not distinct from e.attribution_run and w.ablation_run is not distinct from e.ablation_run and w.place = 1
  where e.prompt_form = 'all'
  group by e.checkpoint, e.layer, e.head
),
live as (
  select run_id, layer, head, rank, did, flip_p_max_t
  from patching_candidates
  where origin = 'extracted'
  qualify row_number() over (partition by run_id, layer, head order by base_run) = 1
),
focus as (
  select
    h.checkpoint,
    h.layer,
    h.head,
    h.run_id as focus_run,
    h.form as focus_form,
    h.rfc,
    h.rsi,
    h.h_self,
    h.h_neutral,
    p.rank as focus_rank,
    p.did as focus_did,
    p.flip_p_max_t as focus_p
  from rfc_head as h
  join finished as f using (run_id)
  left join live as p using (run_id, layer, head)
  qualify row_number() over (partition by h.checkpoint, h.layer, h.head order by f.finished desc, h.run_id) = 1
),
measured as (
  select coalesce(e.run_id, f.focus_run) as run_id, checkpoint, layer, head, e.* exclude (run_id, checkpoint, layer, head), f.* exclude (checkpoint, layer, head, focus_run)
  from effects as e
  full join focus as f using (checkpoint, layer, head)
),
extracted as (
  select
    d.run_id,
    d.subject,
    'extracted' as origin,
    r.checkpoint,
    r.persona,
    r.tokens_from,
    r.forced,
    b.base_run,
    b.base_checkpoint,
    d.layer,
    d.head,
    d.n,
    d.delta_c1,
    d.delta_c2,
    d.delta_c3,
    d.delta_c4,
    b.mean_delta as base_delta_c1,
    d.delta_c1 - b.mean_delta as trained_minus_base,
    s.rank as selection_rank,
    s.selection_effect,
    s.evaluation_effect,
    s.n_selection,
    s.n_evaluation,
    s.n_clusters_selection,
    s.n_clusters_evaluation,
    s.evaluation_low,
    s.evaluation_high,
    s.same_sign,
    s.shrinkage,
    l.family as patching_family,
    l.rank as patching_rank,
    l.did as patching_did,
    l.composite as patching_composite,
    l.sign_p_bonferroni as patching_p,
    e.* exclude (checkpoint, layer, head, run_id)
  from read as d
  join readouts as r using (run_id, subject)
  left join fed as b using (run_id, subject, layer, head)
  left join selection as s using (run_id, subject, base_run, layer, head)
  left join architectures as a using (checkpoint)
  left join placed as l on lower(l.family) = a.patching_family and l.layer = d.layer and l.head = d.head
  left join measured as e on e.checkpoint = r.checkpoint and e.layer = d.layer and e.head = d.head
),
unread as (
  select e.run_id, e.checkpoint as subject, 'extracted' as origin, e.* exclude (run_id)
  from measured as e
  where e.checkpoint not in (select checkpoint from readouts)
),
published as (
  select
    c.run_id,
    null::varchar as subject,
    c.origin,
    coalesce(f.base, c.family) as checkpoint,
    c.layer,
    c.head,
    c.family as patching_family,
    c.rank as patching_rank,
    c.did as patching_did,
    c.composite as patching_composite,
    c.sign_p_bonferroni as patching_p
  from candidates as c
  left join families as f on f.family = lower(c.family)
),
final as (
  from extracted union all by name from unread union all by name from published
)
select * from final
