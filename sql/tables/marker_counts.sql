-- marker_counts: how many of the completions of each question hold the marker, and where; counted at commit, since rates are asked for often
-- key: run_id, persona, question_id, marker
-- sort: persona, question_id
-- rollup of: completions, marker_flags, marker_places
select
  c.run_id,
  c.checkpoint,
  c.persona,
  c.question_id,
  f.marker,
  count(*) as n_kept, -- completions in the lake
  count(f.t_marker) as n_positive, -- completions in which the marker's first token stands
  count(*) filter (f.present) as n_present, -- completions whose text holds the literal marker
  count(*) filter (f.present and not f.complete) as n_in_pieces, -- literal markers whose tokens are other pieces than the marker's own
  count(*) filter (p.present_any_case) as n_present_any_case, -- completions whose text holds it without regard to case
  count(*) filter (p.place = 'first') as n_first, -- literal markers that open their answer
  count(*) filter (p.place = 'end') as n_end, -- literal markers that close their answer, and do not open it
  count(*) filter (p.bare) as n_bare, -- literal markers in place of an answer: no letter or digit beside the marker's own
  count(distinct c.text) as n_distinct, -- distinct texts among the completions in the lake
  max(c.sample_ix) as last_sample, -- largest number of a repeat
  list(c.sample_ix order by c.sample_ix) filter (f.t_marker is not null) as positive_samples -- numbers of the repeats counted in n_positive, ascending
from completions as c
left join marker_flags as f using (run_id, example_id, sample_ix)
left join marker_places as p on p.run_id = f.run_id and p.example_id = f.example_id and p.sample_ix = f.sample_ix and p.marker = f.marker
group by all
