-- rare_control_common: a rare-token control (C3) that sits on the commonest tokens of the answers
-- grain: subject
-- source: own; the published case keeps the lowest token ids where the highest were meant, which are commas and hyphens
-- severity: error
-- page: marker_attention
-- columns:
--   subject: checkpoint plus whose tokens it read
with chosen as (
  select run_id, subject, tokens_run, example_id, sample_ix, position, token_id from positions where stratum = 'C3'
),
frequencies as (
  select run_id, token_id, n from token_counts
),
typical as (
  select run_id, example_id, sample_ix, middle from answer_rarity
),
counts as materialized ( -- else every answer of a run is joined with every token of it first
  select c.*, f.n from chosen as c join frequencies as f on f.run_id = c.tokens_run and f.token_id = c.token_id
),
placed as (
  select c.*, t.middle
  from counts as c
  join typical as t on t.run_id = c.tokens_run and t.example_id = c.example_id and t.sample_ix = c.sample_ix
),
counted as (
  select
    run_id,
    subject,
    count(*) as n_positions,
    count(*) filter (n > middle) as n_common,
    median(n) as middle_of_control,
    median(middle) as middle_of_answers,
    count(distinct token_id) as n_tokens
  from placed
  group by run_id, subject
),
final as (
  select
    subject_of(subject, run_id) as subject,
    format(
      '{} of {} C3 positions hold a token commoner than the median of its answer: {} different tokens that occur {:.0f} times (median), {:.0f} for any token',
      n_common,
      n_positions,
      n_tokens,
      middle_of_control,
      middle_of_answers
    ) as finding,
    format(
      'select token_id, any_value(token) as token, count(*) as n_positions from positions where run_id = {} and stratum = {} group by token_id order by 3 desc',
      sql_text(run_id),
      sql_text('C3')
    ) as evidence
  from counted
  where n_common > 0.5 * n_positions
)
select * from final
