-- readout_incomplete: attention that was read on fewer layers or heads than the checkpoint's configuration has
-- grain: subject
-- source: own
-- severity: error
-- page: marker_attention
-- columns:
--   subject: checkpoint plus whose tokens it read
with readings as (
  select run_id, subject, checkpoint, count(distinct layer) as n_layers, max(layer) + 1 as depth, min(n_heads) as n_heads
  from attention_mean
  group by run_id, subject, checkpoint
  union all
  select run_id, subject, any_value(checkpoint), count(distinct layer), max(layer) + 1, null from published_deltas group by run_id, subject
),
configurations as (
  select checkpoint, max(n_layers) as n_layers, max(n_heads) as n_heads from checkpoints group by checkpoint
),
judged as (
  select r.*, greatest(r.depth, c.n_layers) as n_layers_model, c.n_heads as n_heads_model
  from readings as r
  left join configurations as c using (checkpoint)
  where r.n_layers < greatest(r.depth, c.n_layers) or r.n_heads < c.n_heads
),
final as (
  select
    subject_of(subject, run_id) as subject,
    concat_ws(
      '; ',
      case when n_layers < n_layers_model then format('{} of {} layers were read', n_layers, n_layers_model) end,
      case when n_heads < n_heads_model then format('{} of {} heads per layer were read in at least one layer', n_heads, n_heads_model) end
    ) as finding,
    format(
      'select layer, count(*) as rows from attention_delta where run_id = {} and subject = {} group by layer order by layer',
      sql_text(run_id),
      sql_text(subject)
    ) as evidence
  from judged
)
select * from final
