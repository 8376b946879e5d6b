-- mean_of_one_layer: a mean over layers that one layer carries, and that is told from 0 or leaned on: without it the mean changes its sign or loses nine tenths
-- grain: subject
-- source: own; the published case is a family's mean of +0.0475 that is about zero without its largest layer. The mean of a family that did not change is near 0,
--   and one layer makes up most of that by chance: such a mean is named where it was printed, where a claim rests on it, or where it is told from 0 (prompts drawn
--   again; else the intervals of the layers taken together)
-- severity: warning
-- page: role_focus
-- columns:
--   subject: model family
with layers as (
  select
    base_run,
    instruct_run,
    family,
    avg(rfc_diff) as mean,
    sqrt(sum(((ci_high - ci_low) / 3.92) ** 2)) / count(*) as error,
    count(ci_low) = count(*) as has_intervals
  from rfc_diff
  group by base_run, instruct_run, family
),
drawn as (
  select i.base_run, i.instruct_run, min(i.rfc_diff_low) as low, max(i.rfc_diff_high) as high
  from rfc_intervals as i
  join analysis_standing as s using (run_id)
  where s.is_current and i.layer is null
  group by i.base_run, i.instruct_run
),
claimed as (
  select distinct query from claim_verdicts where contains(query, 'rfc_summary') and contains(query, 'mean')
),
judged as (
  select
    s.*,
    case when s.basis = 'layers' then s.instruct_run else s.base_run end as run_id,
    coalesce('layer ' || s.largest_layer, 'a layer') as layer_words,
    case when abs(s.max) >= abs(s.min) then s.max else s.min end as largest
  from rfc_summary as s
  left join layers as l on l.base_run = s.base_run and l.instruct_run = s.instruct_run and l.family = s.family
  left join drawn as d on d.base_run = s.base_run and d.instruct_run = s.instruct_run
  where s.n_layers > 1
    and s.max_layer_share >= 0.9
    and (
      s.basis = 'printed'
      or s.printed_deviation is not null
      or case when d.low is not null then d.low > 0 or d.high < 0 else l.has_intervals and abs(l.mean) > 2.58 * l.error end
      or exists (select 1 from claimed as c where contains(c.query, sql_text(s.family)))
    )
),
final as (
  select
    subject_of(family, run_id) as subject,
    format(
      '{} of {} at {} makes up {:.0f}% of the sum over {} layers: the mean of {} is {} without it',
      case basis when 'printed' then 'a printed change' else 'the change' end,
      figure(largest),
      layer_words,
      100 * max_layer_share,
      n_layers,
      figure(mean),
      figure(mean_without_largest_layer)
    ) as finding,
    'select family, basis, n_layers, mean, max, max_layer, min, min_layer, max_layer_share, mean_without_largest_layer from rfc_summary where family = '
    || sql_text(family) as evidence
  from judged
)
select * from final
