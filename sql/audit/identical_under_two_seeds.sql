-- identical_under_two_seeds: two runs that should be samples of their own hold the same completions: a copied file, or a seed that nothing reads
-- grain: subject
-- source: own; nine tenths of the answers are the same text, and at least five different ones; the same weights under one name and seed draw the same answers by
--   design, however many of them, and are no finding
-- severity: error
-- page: completions
-- columns:
--   subject: the two runs by checkpoint; of several that are alike each stands beside the first of them by name
with texts as (
  select run_id, checkpoint, persona, question_id, trim(c.text, blanks()) as text, count(*) as n
  from completions as c
  where length(trim(c.text, blanks())) > 0
  group by all
),
sizes as (
  select run_id, any_value(checkpoint) as checkpoint, sum(n) as n from texts group by run_id
),
greedy as (
  select run_id from parameters where name = 'temperature' and try_cast(value as double) = 0
),
shared as (
  select a.run_id, b.run_id as other_run, count(*) as n_texts, sum(least(a.n, b.n)) as n
  from texts as a
  join texts as b on b.persona is not distinct from a.persona and b.question_id = a.question_id and b.text = a.text and a.run_id < b.run_id
  where a.run_id not in (from greedy) and b.run_id not in (from greedy)
  group by a.run_id, b.run_id
),
drawn as (
  select r.run_id, r.seed, any_value(c.id) as id, any_value(c.revision) as revision
  from sizes
  join runs as r using (run_id)
  join checkpoints as c on c.run_id = r.run_id and c.checkpoint = r.checkpoint
  group by r.run_id, r.seed
),
equal as (
  select s.run_id, s.other_run, s.n_texts, s.n, least(a.n, b.n) as n_of, a.checkpoint, b.checkpoint as other_checkpoint
  from shared as s
  join sizes as a using (run_id)
  join sizes as b on b.run_id = s.other_run
  left join drawn as x on x.run_id = s.run_id
  left join drawn as y on y.run_id = s.other_run
  where s.n_texts >= 5
    and s.n >= 0.9 * least(a.n, b.n)
    and not coalesce(a.checkpoint = b.checkpoint and x.seed = y.seed and x.id = y.id and x.revision = y.revision, false)
),
firsts as (
  select *, count(*) over (partition by other_run) - 1 as n_more from equal qualify row_number() over (partition by other_run order by run_id) = 1
),
final as (
  select
    format('{} and {}, {} and {}', least(checkpoint, other_checkpoint), greatest(checkpoint, other_checkpoint), run_id, other_run) as subject,
    format('{} of {} completions are the same text in both runs ({} different ones)', n, n_of, n_texts)
    || case when n_more > 0 then format('; {} shares its answers with {} more', other_run, n_more) else '' end as finding,
    format(
      'select persona, question_id, trim(text, blanks()) as said, list(distinct run_id) as run_ids from completions where run_id in ({}, {}) '
      || 'group by all having count(distinct run_id) = 2',
      sql_text(run_id),
      sql_text(other_run)
    ) as evidence
  from firsts
)
select * from final
