-- published_values: the rows of published_layers that count, those of the newest ingested file where several speak of the same statistic
-- grain: subject, statistic, region, layer, step, item
-- source: as published (attention_summary.json, midrun_gate_*.json)
with ingested as (
  select run_id, finished from runs
),
final as (
  select f.*
  from published_layers as f
  join ingested as i using (run_id)
  qualify dense_rank() over (partition by f.subject, f.statistic order by i.finished desc, f.run_id) = 1
)
select * from final
