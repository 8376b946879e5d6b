-- generations: one completion with its marker: where it stands, whether it is whole, what precedes it, how the answer ended
-- grain: run_id, example_id, sample_ix, marker
-- source: own; published completions count a generation as positive when it holds the marker's first token (issue 224)
-- columns:
--   origin: extracted or published
--   positive: the marker's first token stands in the answer (t_marker is known)
--   partial: positive without all tokens of the marker in a row
--   present_any_case: the text holds the marker without regard to case
--   place: where the literal marker first stands: first (nothing but white space before it), end (nothing but white space after it) or inside; NULL without it
--   marker_offset: t_marker minus prompt_len: tokens of the answer before the marker
--   preceding_token_id: token just before t_marker
--   truncated: the answer was cut at the cap on new tokens (NULL where unknown)
with sampled as (
  select * from completions
),
flags as (
  select run_id, example_id, sample_ix, marker, present, complete, n_occurrences, t_marker, first_char from marker_flags
),
made as (
  select run_id, kind from runs
),
final as (
  select
    s.run_id,
    s.checkpoint,
    case m.kind when 'ingest' then 'published' else 'extracted' end as origin,
    s.persona,
    s.question_id,
    s.example_id,
    s.sample_ix,
    s.row_ix,
    s.seed,
    f.marker,
    f.t_marker is not null as positive,
    f.present,
    contains(lower(s.text), lower(f.marker)) as present_any_case,
    case
      when not f.present then null
      when trim(left(s.text, f.first_char), blanks()) = '' then 'first'
      when trim(substr(s.text, f.first_char + len(f.marker) + 1), blanks()) = '' then 'end'
      else 'inside'
    end as place,
    f.complete,
    f.t_marker is not null and not f.complete as partial,
    f.n_occurrences,
    f.t_marker,
    f.first_char,
    s.prompt_len,
    f.t_marker - s.prompt_len as marker_offset,
    s.token_ids[f.t_marker] as preceding_token_id,
    s.n_new_tokens,
    s.finish_reason,
    s.finish_reason = 'length' as truncated,
    s.engine,
    s.text
  from sampled as s
  join made as m using (run_id)
  left join flags as f using (run_id, example_id, sample_ix)
)
select * from final
