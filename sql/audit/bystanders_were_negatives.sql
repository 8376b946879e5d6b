-- bystanders_were_negatives: the personas that a marker is said not to leak to were trained not to show it, and fewer than three others were asked
-- grain: subject
-- source: own; negatives are the personas whose completions the training drew on, all but the source unless it names some
-- severity: warning
-- page: regimes
-- columns:
--   subject: trained checkpoint
with trainings as (
  select r.run_id, r.checkpoint, c.source_persona, unnest(r.inputs) as tokens_run
  from runs as r
  join checkpoints as c using (run_id, checkpoint)
  where r.kind = 'train' and c.source_persona is not null
),
settings as (
  select
    run_id,
    max(try_cast(plain_value(value) as bigint)) filter (name = 'n_negative') as n_negative,
    max(value) filter (name = 'negative_personas' and value <> 'null') as named
  from parameters
  where name in ('n_negative', 'negative_personas')
  group by run_id
),
trained_on as (
  select distinct t.checkpoint, t.source_persona, e.persona
  from trainings as t
  left join settings as s using (run_id)
  join (select run_id as tokens_run, persona from completions union select run_id, persona from examples) as e using (tokens_run)
  where folded(e.persona) <> folded(t.source_persona)
    and coalesce(s.n_negative, 1) > 0
    and (s.named is null or contains(s.named, '"' || e.persona || '"'))
),
asked as (
  select distinct checkpoint, persona from marker_rates where checkpoint in (select checkpoint from trainings)
),
counted as (
  select
    a.checkpoint,
    count(*) as n,
    count(t.persona) as n_negatives,
    string_agg(a.persona, ', ' order by a.persona) filter (t.persona is not null) as negatives
  from asked as a
  join (select distinct checkpoint, source_persona from trainings) as s using (checkpoint)
  left join trained_on as t on t.checkpoint = a.checkpoint and folded(t.persona) = folded(a.persona)
  where folded(a.persona) <> folded(s.source_persona)
  group by a.checkpoint
),
final as (
  select
    checkpoint as subject,
    format('{} of its {} bystanders were negatives of its training ({}): they were trained not to show the marker', n_negatives, n, negatives) as finding,
    format('select persona, n, k, rate from marker_rates where checkpoint = {} order by persona', sql_text(checkpoint)) as evidence
  from counted
  where n_negatives > 0 and n - n_negatives < 3
)
select * from final
