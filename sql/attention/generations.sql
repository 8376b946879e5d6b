-- generations: one completion with its marker: where it stands, whether it is whole, what precedes it, how the answer ended
-- grain: run_id, example_id, sample_ix, marker
-- outcomes: finish_reason, place, text
-- source: own; published completions count a generation as positive when it holds the marker's first token (issue 224)
-- columns:
--   origin: extracted, brought (sampled elsewhere) or published
--   positive: the marker's first token stands in the answer (t_marker is known)
--   partial: the marker's first token or its literal text stands in the answer, without all tokens of the marker in a row
--   in_pieces: the literal marker stands in the text, written in other pieces than its own tokens
--   marker_offset: t_marker minus prompt_len: tokens of the answer before the marker
--   preceding_token_id: token just before t_marker
--   truncated: the answer was cut at the cap on new tokens (NULL where unknown)
with flags as (
  select run_id, example_id, sample_ix, marker, present, complete, n_occurrences, t_marker, first_char from marker_flags
),
places as (
  select run_id, example_id, sample_ix, marker, present_any_case, place from marker_places
),
made as (
  select run_id, kind, extractor from runs
),
final as (
  select
    s.run_id,
    s.checkpoint,
    origin_of(m.kind, m.extractor) as origin,
    s.persona,
    s.question_id,
    s.example_id,
    s.sample_ix,
    s.row_ix,
    s.seed,
    f.marker,
    f.t_marker is not null as positive,
    f.present,
    p.present_any_case,
    p.place,
    f.complete,
    coalesce((f.t_marker is not null or f.present) and not f.complete, false) as partial,
    coalesce(f.present and not f.complete, false) as in_pieces,
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
  from completions as s
  join made as m using (run_id)
  left join flags as f using (run_id, example_id, sample_ix)
  left join places as p on p.run_id = s.run_id and p.example_id = s.example_id and p.sample_ix = s.sample_ix and p.marker = f.marker
)
select * from final
