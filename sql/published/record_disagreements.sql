-- record_disagreements: two published values of one figure that differ: between records of one checkpoint, or within a file between a headline and the rates below it
-- grain: run_id, other_run_id, field, other_field, quantity, persona
-- source: own; panel files name a source only and are matched to the configuration that the study's write-up pins them to (regime_thresholds)
-- columns:
--   other_run_id: run of the other record; run_id itself where a file contradicts itself
--   checkpoint: short name of the checkpoint in the first record
--   other_checkpoint: short name in the other
--   matched_by: same file, checkpoint (same name), configuration (same source, lr, epochs and seed) or write-up (panel files)
--   quantity: marker or structure (a rate), arc_c or loss
--   persona: persona of a rate, empty for anything else
--   field: place of the value in the first record
--   other_field: place in the other
--   value: value in the first record
--   other_value: value in the other
--   difference: other_value minus value
--   p: two-sided p that two samples of these sizes differ by as much or more, normal approximation (NULL where the value is no marker rate, or sizes are unknown)
--   source_file: file of the first record, as typed
--   other_source_file: file of the other
with rates as (
  select * from published_rates
),
results as (
  select * from published_results
),
sizes as (
  select run_id, persona, n, k from published_marker_rates
),
trained as (
  select run_id, checkpoint, source_persona, lr, epochs, seed from checkpoints
),
limits as (
  select panel_lr, panel_epochs, panel_seed from regime_thresholds
),
records as (
  select run_id, record, checkpoint, source_file from results
  union
  select run_id, record, checkpoint, source_file from rates
),
keyed as (
  select
    r.run_id,
    r.record,
    r.checkpoint,
    r.source_file,
    coalesce(r.record in ('marker_eval', 'panel_summary') and t.source_persona = r.checkpoint, false) as from_write_up,
    case
      when from_write_up then concat_ws(' ', t.source_persona, l.panel_lr, l.panel_epochs, l.panel_seed)
      when r.record = 'run_result' then concat_ws(' ', coalesce(t.source_persona, 'no source'), t.lr, t.epochs, t.seed)
      else r.checkpoint
    end as cell
  from records as r
  left join trained as t using (run_id, checkpoint)
  cross join limits as l
),
stated as (
  select run_id, field as place, measure as quantity, persona, rate as value, not repeated as main from rates
  union all
  select r.run_id, 'source_marker', 'marker', t.source_persona, r.source_marker, r.record = 'panel_summary'
  from results as r
  join trained as t using (run_id, checkpoint)
  where t.source_persona is not null
  union all
  select run_id, 'assistant_marker', 'marker', 'assistant', assistant_marker, false from results
  union all
  select r.run_id, 'source_structure', 'structure', t.source_persona, r.source_structure, false
  from results as r
  join trained as t using (run_id, checkpoint)
  where t.source_persona is not null
  union all
  select run_id, 'assistant_structure', 'structure', 'assistant', assistant_structure, false from results
  union all
  select run_id, 'arc_correct / arc_total', 'arc_c', '', arc_correct / nullif(arc_total, 0), true from results
  union all
  select run_id, 'arc_logprob', 'arc_c', '', arc_logprob, false from results
  union all
  select run_id, 'arc_c', 'arc_c', '', arc_c, false from results
  union all
  select run_id, 'loss', 'loss', '', loss, true from results
),
figures as (
  select s.*, k.record, k.checkpoint, k.cell, k.from_write_up, k.source_file
  from stated as s
  join keyed as k using (run_id)
  where s.value is not null and k.cell is not null
),
pairs as (
  select
    a.run_id,
    b.run_id as other_run_id,
    a.checkpoint,
    b.checkpoint as other_checkpoint,
    case
      when a.run_id = b.run_id then 'same file'
      when a.from_write_up <> b.from_write_up then 'write-up'
      when a.record = 'run_result' then 'configuration'
      else 'checkpoint'
    end as matched_by,
    a.quantity,
    a.persona,
    a.place as field,
    b.place as other_field,
    a.value,
    b.value as other_value,
    b.value - a.value as difference,
    a.source_file,
    b.source_file as other_source_file
  from figures as a
  join figures as b
    on b.cell = a.cell
    and b.quantity = a.quantity
    and b.persona = a.persona
    and ((b.run_id = a.run_id and a.main and not b.main) or (b.run_id > a.run_id and a.main and b.main))
  where abs(b.value - a.value) > 1e-9
),
final as (
  select
    p.run_id,
    p.other_run_id,
    p.checkpoint,
    p.other_checkpoint,
    p.matched_by,
    p.quantity,
    p.persona,
    p.field,
    p.other_field,
    p.value,
    p.other_value,
    p.difference,
    case
      when p.quantity = 'marker' and p.run_id <> p.other_run_id and a.k + b.k between 1 and a.n + b.n - 1 then
        normal_p(p.difference / sqrt((a.k + b.k) / (a.n + b.n) * (1 - (a.k + b.k) / (a.n + b.n)) * (1 / a.n + 1 / b.n)))
    end as p,
    p.source_file,
    p.other_source_file
  from pairs as p
  left join sizes as a on a.run_id = p.run_id and a.persona = p.persona
  left join sizes as b on b.run_id = p.other_run_id and b.persona = p.persona
)
select * from final
