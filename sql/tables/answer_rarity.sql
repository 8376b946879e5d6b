-- answer_rarity: how common the tokens of one answer are in the answers of its run
-- key: run_id, example_id, sample_ix
-- sort: example_id, sample_ix
-- rollup of: completions, token_counts
with answers as (
  select run_id, example_id, sample_ix, unnest(token_ids[prompt_len + 1:]) as token_id from completions
)
select
  a.run_id,
  a.example_id,
  a.sample_ix,
  median(c.n) as middle -- median over its tokens of how often the token was sampled in the run
from answers as a
join token_counts as c using (run_id, token_id)
group by a.run_id, a.example_id, a.sample_ix
