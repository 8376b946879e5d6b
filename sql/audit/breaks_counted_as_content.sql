-- breaks_counted_as_content: line breaks before the marker that are fused with other characters and count as content, in segmentation B and in the controls
-- grain: subject
-- source: own; in the published case 112 of 112 markers follow a break, one of them a structural token
-- severity: note
-- page: marker_attention
-- columns:
--   subject: checkpoint plus whose tokens it read
with broken as (
  select run_id as tokens_run, example_id, sample_ix, t_marker, preceding_token_id
  from generations
  where present and complete and substr(text, first_char, 1) = chr(10)
),
content as (
  select run_id, subject, tokens_run, example_id, sample_ix, position from positions where stratum = 'C2'
),
counted as (
  select
    c.run_id,
    c.subject,
    c.tokens_run,
    count(distinct (b.example_id, b.sample_ix)) as n_broken,
    count(*) filter (c.position = b.t_marker - 1) as n_content,
    count(distinct b.preceding_token_id) filter (c.position = b.t_marker - 1) as n_tokens
  from content as c
  join broken as b using (tokens_run, example_id, sample_ix)
  group by c.run_id, c.subject, c.tokens_run
),
final as (
  select
    subject_of(subject, run_id) as subject,
    format(
      'the marker follows a line break in {} generations; in {} of them the break is fused with other characters and counts as content (token ids seen: {})',
      n_broken,
      n_content,
      n_tokens
    ) as finding,
    format(
      'select preceding_token_id, count(*) as n from generations where run_id = {} and present and substr(text, first_char, 1) = chr(10) group by all order by n desc',
      sql_text(tokens_run)
    ) as evidence
  from counted
  where n_content > 0
)
select * from final
