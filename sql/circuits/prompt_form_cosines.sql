-- prompt_form_cosines: how alike two phrasings of one task are at the same place, layer by layer: cosine of their activations, mean over questions
-- grain: run_id, stratum, site, layer, form_a, form_b
-- source: own; after the echo write-up ("cosine similarity of the last token in both prompts across all layers")
-- columns:
--   form_a: first phrasing, in alphabetical order
--   form_b: second phrasing
--   n: pairs of prompts that ask for the same thing in both phrasings: one question_id of one category; where phrasings share no ids, a target that one prompt of
--     each has
--   n_clusters: questions among them
--   clustered_df: degrees of freedom of the intervals (Bell and McCaffrey 2002): n_clusters - 1 where questions are equally large, fewer where not
--   n_effective_clusters: Kish's effective number of questions, (sum of sizes)^2 / sum of squared sizes: so many equally large ones weigh as much
--   is_skewed: the questions' means are so skewed that an interval is too short on one side (skewness at least 1 and beyond twice its standard error)
--   n_same_input: pairs that read the same tokens up to this place; their cosine is 1 by construction
--   cosine: mean over the pairs
--   cosine_low: lower end of its 95% interval, Student t, clustered by question, within -1 and 1 (CR2; NULL where the questions do not differ)
--   cosine_high: upper end
--   lowest: smallest cosine of a pair
--   highest: largest
with asked as (
  select distinct run_id, example_id, persona, condition, category, prompt_form, question_id, target from examples where prompt_form is not null
),
-- phrasings that number their questions each on their own share no id; then the target tells which prompts ask for the same thing, unless several of one phrasing do
known as (
  select
    *,
    question_id is not null and count(distinct prompt_form) over (partition by run_id, question_id) > 1 as is_shared,
    count(*) over (partition by run_id, persona, condition, category, prompt_form, target) = 1 as is_only
  from asked
),
keyed as (
  select
    run_id,
    example_id,
    category,
    prompt_form,
    case when bool_or(is_shared) over (partition by run_id) then question_id when is_only then target end as asked_for
  from known
),
read as (
  select a.*, e.category, e.prompt_form, e.asked_for from activations as a join keyed as e using (run_id, example_id)
),
pairs as (
  select
    a.run_id,
    a.subject,
    a.checkpoint,
    a.stratum,
    a.site,
    a.layer,
    a.prompt_form as form_a,
    b.prompt_form as form_b,
    a.asked_for,
    a.input_hash = b.input_hash as is_same_input,
    list_cosine_similarity(a.vector::double[], b.vector::double[]) as cosine
  from read as a
  join read as b
    on b.run_id = a.run_id
    and b.stratum = a.stratum
    and b.site = a.site
    and b.layer = a.layer
    and b.persona is not distinct from a.persona
    and b.condition is not distinct from a.condition
    and b.category is not distinct from a.category
    and b.sample_ix is not distinct from a.sample_ix
    and b.asked_for = a.asked_for
    and b.prompt_form > a.prompt_form
),
clusters as (
  select
    run_id,
    subject,
    checkpoint,
    stratum,
    site,
    layer,
    form_a,
    form_b,
    asked_for,
    count(*) as n,
    count(*) filter (is_same_input) as n_same_input,
    sum(cosine) as total,
    min(cosine) as lowest,
    max(cosine) as highest
  from pairs
  group by run_id, subject, checkpoint, stratum, site, layer, form_a, form_b, asked_for
),
centred as (
  select *, sum(total) over places / sum(n) over places as mean, n / sum(n) over places as share
  from clusters
  window places as (partition by run_id, stratum, site, layer, form_a, form_b)
),
sums as (
  select
    run_id,
    any_value(subject) as subject,
    any_value(checkpoint) as checkpoint,
    stratum,
    site,
    layer,
    form_a,
    form_b,
    sum(n)::bigint as n,
    count(*) as n_clusters,
    sum(n_same_input)::bigint as n_same_input,
    any_value(mean) as cosine,
    cr2_sem(sum(n), count(*), cr2_squares(n, total, mean, share)) as sem,
    case when count(*) > 1 then cr2_df(share) end as clustered_df,
    effective_clusters(share) as n_effective_clusters,
    is_skewed(cluster_skewness(n, total, mean), count(*)) as is_skewed,
    min(lowest) as lowest,
    max(highest) as highest
  from centred
  group by run_id, stratum, site, layer, form_a, form_b
),
bounded as (
  select *, t_half_width(sem, clustered_df) as half_width from sums
),
final as (
  select
    * exclude (sem, lowest, highest, half_width),
    case when half_width is not null then greatest(-1, cosine - half_width) end as cosine_low,
    case when half_width is not null then least(1, cosine + half_width) end as cosine_high,
    lowest,
    highest
  from bounded
)
select * from final
