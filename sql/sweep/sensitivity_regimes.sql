-- sensitivity_regimes: which cells of a sweep are clean? The answer under every defensible choice of leak and thresholds, and the share that keeps it
-- grain: run_id, marker, leak, leak_threshold, source_threshold, spelling
-- source: own; specification curve (Simonsohn, Simmons and Nelson 2020) around the rule of the published sweep (regime_of)
-- columns:
--   recipe: what else the training was given, as in the view recipes: trainings of two recipes are not compared
--   run_id: run of completions, or published file, the rates come from
--   origin: extracted, brought or published
--   source: persona trained to emit the marker
--   leak: whose rate counts as the leak: largest other (the published rule), largest bystander (without the assistant), mean other, largest held-out (never
--     trained on; no row where the training does not say)
--   leak_threshold: above it the cell leaks: 0.02, 0.05 (published) or 0.10
--   source_threshold: above it the source has adopted the marker: 0.3, 0.5 (published) or 0.7
--   spelling: marker as trained, or in any case, for the source's rate
--   estimate: the leak
--   source_rate: the source's rate under this spelling
--   conclusion: clean or not clean
--   is_reference: the published rule: largest other, 0.05, 0.5, as trained
--   reference: its conclusion (NULL where a rate it needs is unknown)
--   n_choices: choices of the cell
--   n_same: those whose conclusion is the reference's (NULL where there is none)
--   share_same: n_same over n_choices
--   share_clean: share of the choices under which the cell is clean
with cells as (
  select r.*, s.mean_other_rate
  from regimes as r
  left join (
    select run_id, marker, avg(rate) filter (persona is distinct from source_persona) as mean_other_rate
    from marker_rates
    join (select run_id, checkpoint, source_persona from checkpoints) using (run_id, checkpoint)
    group by run_id, marker
  ) as s on s.run_id = r.run_id and s.marker is not distinct from r.marker
),
leaks as (
  select *, 'largest other' as leak, max_other_rate as estimate from cells
  union all
  select *, 'largest bystander', max_bystander_rate from cells
  union all
  select *, 'mean other', mean_other_rate from cells
  union all
  select *, 'largest held-out', max_held_out_rate from cells
),
spellings as (
  select * exclude (source_rate), 'as trained' as spelling, source_rate from leaks
  union all
  select * exclude (source_rate), 'any case', source_rate_any_case from leaks where source_rate_any_case is not null
),
chosen as (
  select s.*, l.leak_threshold, p.source_threshold
  from spellings as s
  cross join (values (0.02::double), (0.05::double), (0.10::double)) as l(leak_threshold)
  cross join (values (0.3::double), (0.5::double), (0.7::double)) as p(source_threshold)
  where s.estimate is not null and s.source_rate is not null
),
judged as (
  select
    run_id,
    marker,
    checkpoint,
    origin,
    parent,
    source,
    lr,
    epochs,
    seed,
    recipe,
    leak,
    leak_threshold,
    source_threshold,
    spelling,
    estimate,
    source_rate,
    case when estimate <= leak_threshold and source_rate > source_threshold then 'clean' else 'not clean' end as conclusion,
    leak = 'largest other' and leak_threshold = 0.05 and source_threshold = 0.5 and spelling = 'as trained' as is_reference
  from chosen
),
of_cells as (
  select
    run_id,
    marker,
    max(conclusion) filter (is_reference) as reference,
    count(*) as n_choices,
    count(*) filter (conclusion = 'clean') as n_clean
  from judged
  group by run_id, marker
),
final as (
  select
    j.*,
    c.reference,
    c.n_choices,
    case c.reference when 'clean' then c.n_clean when 'not clean' then c.n_choices - c.n_clean end as n_same,
    n_same / c.n_choices as share_same,
    c.n_clean / c.n_choices as share_clean
  from judged as j
  join of_cells as c on c.run_id = j.run_id and c.marker is not distinct from j.marker
)
select * from final
