-- slice_answers: what is known of the answers of a checkpoint under a persona besides the marker, and of its capability; of no layer
-- grain: run_id, persona, measure
-- source: own; degeneration, structure_rates and capability_scores
-- columns as: slice
with scores as (
  select * from capability_scores
),
parents as (
  select distinct run_id, checkpoint from capability
),
written as (
  unpivot (select run_id, checkpoint, persona, origin, n, empty_rate, truncated_rate, distinct_rate, repetition from degeneration)
  on empty_rate, truncated_rate, distinct_rate, repetition
  into name name value value
),
answers as (
  select
    run_id,
    checkpoint,
    persona,
    origin,
    n,
    case name
      when 'empty_rate' then 'completions without any text'
      when 'truncated_rate' then 'completions cut at the limit of tokens'
      when 'distinct_rate' then 'different texts among the completions of a question'
      else 'tokens in trigrams that stood before in the same answer'
    end as measure,
    value,
    'degeneration' as source
  from written
  union all
  select run_id, checkpoint, persona, origin, n, 'completions that are mostly a bullet list', rate, 'structure_rates' from structure_rates
),
final as (
  select
    'completions' as topic,
    checkpoint,
    checkpoint as subject,
    persona,
    null::integer as layer,
    null::integer as head,
    measure,
    null::varchar as other,
    null::varchar as other_checkpoint,
    null::varchar as place,
    value,
    null::double as low,
    null::double as high,
    'share' as unit,
    n,
    'completions' as n_of,
    null::bigint as n_clusters,
    null::double as p,
    'share of what was sampled, no interval' as method,
    null::varchar as verdict,
    origin,
    source,
    'completions' as page,
    run_id,
    null::varchar as base_run
  from answers
  union all
  select
    'completions',
    checkpoint,
    checkpoint,
    null,
    null,
    null,
    'right answers, ' || task,
    null,
    null,
    null,
    accuracy,
    clustered_low,
    clustered_high,
    'share',
    n,
    'questions',
    n,
    null,
    '95% interval by question',
    null,
    'extracted',
    'capability_scores',
    'regimes',
    run_id,
    null
  from scores
  union all
  select
    'completions',
    s.checkpoint,
    s.checkpoint,
    null,
    null,
    null,
    'right answers, ' || s.task || ', minus the parent''s',
    'against ' || coalesce(p.checkpoint, s.parent) || ' on the same questions',
    coalesce(p.checkpoint, s.parent),
    null,
    s.difference,
    s.difference_low,
    s.difference_high,
    'share',
    s.n_paired,
    'questions',
    s.n_paired,
    s.p,
    'paired by question; 95% interval of Bonett and Price; p: McNemar''s exact test',
    null,
    'extracted',
    'capability_scores',
    'regimes',
    s.run_id,
    null
  from scores as s
  left join parents as p on p.run_id = s.parent_run
  where s.difference is not null
)
select * from final
