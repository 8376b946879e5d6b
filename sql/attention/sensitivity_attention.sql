-- sensitivity_attention: did training move attention to the system prompt at the marker? The answer under every defensible choice, and the share that keeps it
-- grain: trained_run, base_run, segmentation, control, measure, layers
-- source: own; specification curve (Simonsohn, Simmons and Nelson 2020); every choice is tested as diff_of_diffs is: paired generations, a t interval over questions
-- columns:
--   trained_run: run of the checkpoint that sampled the tokens
--   base_run: run of the checkpoint that was force-fed them
--   trained_subject: subject of trained_run
--   base_subject: subject of base_run
--   origin: extracted or published (published files hold segmentation B and differences alone)
--   segmentation: A (all tokens of the system block) or B (its content)
--   control: control stratum that is subtracted: C1, C2, C3, C4
--   measure: share (of attention at the marker, minus at the control) or log ratio (of the two shares; no row of a generation in which one is 0)
--   layers: which are averaged: all, first half, second half, all but the largest (the one with the largest mean difference, in absolute value), or the largest
--     alone, whose interval is widened for all layers it was picked from (Bonferroni)
--   n: generations
--   n_clusters: questions
--   estimate: mean over questions of trained minus base, averaged over the layers
--   low: lower end of its 95% interval, Student t with n_clusters - 1 degrees of freedom, questions weighing alike (NULL where they do not vary)
--   high: upper end
--   conclusion: up, down, or not told from 0, by the interval; no correction over the choices, which are no independent tests
--   is_reference: the choice that pages show first: B, C1, share, all layers
--   reference: its conclusion (NULL where the pair lacks it)
--   n_choices: choices of the pair
--   n_same: those whose conclusion is the reference's (NULL where there is none)
--   share_same: n_same over n_choices
with extracted as (
  select run_id, question_id, example_id, sample_ix, null::integer as row_ix, segmentation, control, layer, delta, marker_value, control_value
  from attention_region_delta
  where region = 'system'
),
published as (
  select run_id, question_id, null::varchar as example_id, null::integer as sample_ix, row_ix, 'B' as segmentation, control, layer, delta,
    null::double as marker_value, null::double as control_value
  from attention_delta
  where origin = 'published'
),
pairs as (
  select trained_run, base_run, trained_subject, base_subject, origin from subject_pairs
),
joined as (
  select p.*, t.question_id, t.segmentation, t.control, t.layer, t.delta - b.delta as share, ln(nullif(t.marker_value, 0) / nullif(t.control_value, 0))
    - ln(nullif(b.marker_value, 0) / nullif(b.control_value, 0)) as log_ratio
  from pairs as p
  join extracted as t on t.run_id = p.trained_run
  join extracted as b
    on b.run_id = p.base_run
    and b.example_id = t.example_id
    and b.sample_ix = t.sample_ix
    and b.segmentation = t.segmentation
    and b.control = t.control
    and b.layer = t.layer
  union all
  select p.*, t.question_id, t.segmentation, t.control, t.layer, t.delta - b.delta, null
  from pairs as p
  join published as t on t.run_id = p.trained_run
  join published as b on b.run_id = p.base_run and b.row_ix = t.row_ix and b.control = t.control and b.layer = t.layer
),
measured as (
  select * exclude (share, log_ratio), 'share' as measure, share as value from joined where question_id is not null
  union all
  select * exclude (share, log_ratio), 'log ratio', log_ratio from joined where question_id is not null and log_ratio is not null
),
questions as (
  select trained_run, base_run, trained_subject, base_subject, origin, segmentation, control, measure, layer, question_id, count(*) as n, avg(value) as value
  from measured
  group by all
),
curves as (
  select
    trained_run,
    base_run,
    segmentation,
    control,
    measure,
    layer,
    row_number() over (partition by trained_run, base_run, segmentation, control, measure order by abs(avg(value)) desc, layer) as size_rank,
    max(layer) over (partition by trained_run, base_run) as last_layer,
    count(*) over (partition by trained_run, base_run, segmentation, control, measure) as n_layers
  from questions
  group by trained_run, base_run, segmentation, control, measure, layer
),
chosen as (
  select *, 'all' as layers from curves
  union all
  select *, 'first half' from curves where 2 * layer < last_layer + 1
  union all
  select *, 'second half' from curves where 2 * layer >= last_layer + 1
  union all
  select *, 'all but the largest' from curves where size_rank > 1
  union all
  select *, 'the largest' from curves where size_rank = 1
),
averaged as (
  select
    q.trained_run,
    q.base_run,
    q.trained_subject,
    q.base_subject,
    q.origin,
    q.segmentation,
    q.control,
    q.measure,
    c.layers,
    q.question_id,
    case c.layers when 'the largest' then c.n_layers else 1 end as n_looked_at,
    max(q.n) as n,
    avg(q.value) as value
  from questions as q
  join chosen as c using (trained_run, base_run, segmentation, control, measure, layer)
  group by all
),
estimates as (
  select
    trained_run,
    base_run,
    trained_subject,
    base_subject,
    origin,
    segmentation,
    control,
    measure,
    layers,
    any_value(n_looked_at) as n_looked_at,
    sum(n)::bigint as n,
    count(*) as n_clusters,
    avg(value) as estimate,
    stddev_samp(value) / sqrt(count(*)) as sem
  from averaged
  group by all
),
bounded as (
  select *, half_width(nullif(sem, 0), n_clusters, share := 1.0 / n_looked_at) as half_width from estimates
),
judged as (
  select
    * exclude (sem, half_width, n_looked_at),
    estimate - half_width as low,
    estimate + half_width as high,
    case when low > 0 then 'up' when high < 0 then 'down' else 'not told from 0' end as conclusion,
    segmentation = 'B' and control = 'C1' and measure = 'share' and layers = 'all' as is_reference
  from bounded
),
referred as (
  select *, max(conclusion) filter (is_reference) over (partition by trained_run, base_run) as reference from judged
),
final as (
  select
    *,
    count(*) over choices as n_choices,
    case when reference is not null then count(*) filter (conclusion = reference) over choices end as n_same,
    n_same / n_choices as share_same
  from referred
  window choices as (partition by trained_run, base_run)
)
select * from final
