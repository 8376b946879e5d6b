-- marker_places: where in its answer each literal marker stands; told at commit, since reading every text again is slow
-- key: run_id, example_id, sample_ix, marker
-- sort: example_id, sample_ix
-- rollup of: completions, marker_flags
with found as (
  select f.run_id, f.example_id, f.sample_ix, f.marker, f.present, f.first_char, c.text, ' ' || chr(9) || chr(10) || chr(13) as blanks
  from marker_flags as f
  join completions as c using (run_id, example_id, sample_ix)
)
select
  run_id,
  example_id,
  sample_ix,
  marker,
  contains(lower(text), lower(marker)) as present_any_case, -- the text holds the marker without regard to case
  case
    when not present then null
    when trim(left(text, first_char), blanks) = '' then 'first'
    when trim(substr(text, first_char + len(marker) + 1), blanks) = '' then 'end'
    else 'inside'
  end as place, -- first (nothing but white space before it), end (nothing but white space after it) or inside, of its first occurrence; NULL without it
  case
    when present then not regexp_matches(replace(replace(lower(text), lower(marker), ''), regexp_replace(lower(marker), '[^\p{L}\p{N}]', '', 'g'), ''), '[\p{L}\p{N}]')
  end as bare -- the answer holds no letter or digit but the marker's own: it took the answer's place; NULL without the marker
from found
