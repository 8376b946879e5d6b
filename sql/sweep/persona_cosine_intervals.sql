-- persona_cosine_intervals: how sure a cosine between two personas is over questions: beside persona_cosines, with what questions differ by taken out of the lengths
-- grain: run_id, condition, stratum, layer, site, persona, other_persona
-- source: own; jackknife over questions (Tukey 1958; Miller 1974) of the cosine without the products of a question with itself, Student t with questions less one degrees
--   of freedom; the mean over personas is taken anew without each question. Places where every persona was asked the same questions, three or more, and where the
--   tokens read are not the same for all of them
-- columns:
--   other_persona: persona compared with; both orders stand
--   corrected: the cosine without what the differences of questions add to the length of a mean of few, which lowers a cosine (NULL: a mean is not longer than its noise)
--   low: lower end of its 95% interval, this pair alone (NULL where the questions do not differ, or without one of them a mean is not longer than its noise)
--   high: upper end
--   corrected_centered: likewise after the mean over the run's personas was subtracted
--   low_centered: lower end of its interval (NULL also of two personas, whose centred cosine is -1 whatever was read)
--   high_centered: upper end
--   n_questions: questions that are left out one by one
--   n_personas: personas in the mean that is subtracted
with counts as (
  select run_id, condition, stratum, layer, site, persona, question_id, count(*)::double as n, min(input_hash) as input_hash
  from activations
  where persona is not null and question_id is not null
  group by all
),
asked as (
  select
    run_id,
    condition,
    stratum,
    layer,
    site,
    persona,
    count(*) as n_questions,
    list(question_id order by question_id) as questions,
    sum(n) as n,
    count(distinct input_hash) = 1 as same_tokens
  from counts
  group by all
),
places as (
  select run_id, condition, stratum, layer, site, count(*) as n_personas, any_value(n_questions) as n_questions
  from asked
  group by all
  having count(*) > 1 and count(distinct questions) = 1 and any_value(n_questions) > 2 and not bool_or(same_tokens)
),
numbers as (
  select
    v.run_id,
    v.condition,
    v.stratum,
    v.layer,
    v.site,
    v.persona,
    v.question_id,
    unnest(v.vector) as value,
    generate_subscripts(v.vector, 1) as dimension
  from activations as v
  join places as p
    on p.run_id = v.run_id and p.stratum = v.stratum and p.layer = v.layer and p.site = v.site and p.condition is not distinct from v.condition
  where v.persona is not null and v.question_id is not null
),
sums as (
  select run_id, condition, stratum, layer, site, persona, question_id, dimension, sum(value::double) as value from numbers group by all
),
-- the sum of a question's vectors, and that of all questions
of_questions as (
  select run_id, condition, stratum, layer, site, persona, question_id, list(value order by dimension) as vector from sums group by all
),
totals as (
  select run_id, condition, stratum, layer, site, persona, dimension, sum(value) as value from sums group by all
),
of_personas as (
  select run_id, condition, stratum, layer, site, persona, list(value order by dimension) as total from totals group by all
),
read as (
  select q.*, p.n_personas, p.n_questions, c.n, a.n as n_all, t.total
  from of_questions as q
  join places as p
    on p.run_id = q.run_id and p.stratum = q.stratum and p.layer = q.layer and p.site = q.site and p.condition is not distinct from q.condition
  join counts as c
    on c.run_id = q.run_id
    and c.stratum = q.stratum
    and c.layer = q.layer
    and c.site = q.site
    and c.persona = q.persona
    and c.question_id = q.question_id
    and c.condition is not distinct from q.condition
  join asked as a
    on a.run_id = q.run_id
    and a.stratum = q.stratum
    and a.layer = q.layer
    and a.site = q.site
    and a.persona = q.persona
    and a.condition is not distinct from q.condition
  join of_personas as t
    on t.run_id = q.run_id
    and t.stratum = q.stratum
    and t.layer = q.layer
    and t.site = q.site
    and t.persona = q.persona
    and t.condition is not distinct from q.condition
),
products as (
  select
    a.run_id,
    a.condition,
    a.stratum,
    a.layer,
    a.site,
    a.persona,
    b.persona as other_persona,
    a.question_id,
    a.n_personas,
    a.n_questions,
    a.n * b.n as weight,
    a.n * b.n_all as with_all,
    a.n_all * b.n as all_with,
    a.n_all * b.n_all as weights,
    list_dot_product(a.vector, b.vector) as own,
    list_dot_product(a.vector, b.total) as with_total,
    list_dot_product(a.total, b.vector) as total_with
  from read as a
  join read as b
    on b.run_id = a.run_id
    and b.stratum = a.stratum
    and b.layer = a.layer
    and b.site = a.site
    and b.question_id = a.question_id
    and b.condition is not distinct from a.condition
),
-- over pairs of different questions: of all, and of all but one
summed as (
  select
    *,
    sum(with_total) over pair - sum(own) over pair as product,
    weights - sum(weight) over pair as pairs,
    sum(own) over pair as itself,
    sum(weight) over pair as itself_weight
  from products
  window pair as (partition by run_id, condition, stratum, layer, site, persona, other_persona)
),
samples as (
  select
    run_id,
    condition,
    stratum,
    layer,
    site,
    persona,
    other_persona,
    n_personas,
    n_questions,
    question_id,
    (product - with_total - total_with + 2 * own) / (pairs - with_all - all_with + 2 * weight) as product
  from summed
  union all
  select run_id, condition, stratum, layer, site, persona, other_persona, n_personas, n_questions, null as question_id, any_value(product) / any_value(pairs) as product
  from summed
  group by run_id, condition, stratum, layer, site, persona, other_persona, n_personas, n_questions
),
-- products of centred vectors follow from the raw ones: subtract the means of row and column, add the mean of all
centred as (
  select
    *,
    product - avg(product) over of_persona - avg(product) over of_other + avg(product) over of_all as product_centered
  from samples
  window
    of_persona as (partition by run_id, condition, stratum, layer, site, question_id, persona),
    of_other as (partition by run_id, condition, stratum, layer, site, question_id, other_persona),
    of_all as (partition by run_id, condition, stratum, layer, site, question_id)
),
lengths as (
  select run_id, condition, stratum, layer, site, question_id, persona, product as square, product_centered as square_centered
  from centred
  where persona = other_persona
),
cosines as (
  select
    c.run_id,
    c.condition,
    c.stratum,
    c.layer,
    c.site,
    c.persona,
    c.other_persona,
    c.n_personas,
    c.n_questions,
    c.question_id,
    case when least(a.square, b.square) > 0 then c.product / sqrt(a.square * b.square) end as cosine,
    case
      when least(a.square, b.square, a.square_centered, b.square_centered) > 0
        and least(a.square_centered / a.square, b.square_centered / b.square) > 1e-12
        then c.product_centered / sqrt(a.square_centered * b.square_centered)
    end as cosine_centered
  from centred as c
  join lengths as a
    on a.run_id = c.run_id
    and a.stratum = c.stratum
    and a.layer = c.layer
    and a.site = c.site
    and a.persona = c.persona
    and a.condition is not distinct from c.condition
    and a.question_id is not distinct from c.question_id
  join lengths as b
    on b.run_id = c.run_id
    and b.stratum = c.stratum
    and b.layer = c.layer
    and b.site = c.site
    and b.persona = c.other_persona
    and b.condition is not distinct from c.condition
    and b.question_id is not distinct from c.question_id
  where c.persona <> c.other_persona
),
jackknife as (
  select
    run_id,
    condition,
    stratum,
    layer,
    site,
    persona,
    other_persona,
    n_personas,
    n_questions,
    max(cosine) filter (question_id is null) as corrected,
    max(cosine_centered) filter (question_id is null) as corrected_centered,
    case
      when count(cosine) filter (question_id is not null) = n_questions
        then (n_questions - 1) / sqrt(n_questions) * stddev_samp(cosine) filter (question_id is not null)
    end as error,
    case
      when count(cosine_centered) filter (question_id is not null) = n_questions
        then (n_questions - 1) / sqrt(n_questions) * stddev_samp(cosine_centered) filter (question_id is not null)
    end as error_centered
  from cosines
  group by run_id, condition, stratum, layer, site, persona, other_persona, n_personas, n_questions
),
reaches as (
  select
    *,
    case when error > 1e-9 then half_width(error, n_questions) end as reach,
    case when error_centered > 1e-9 then half_width(error_centered, n_questions) end as reach_centered
  from jackknife
),
final as (
  select
    run_id,
    condition,
    stratum,
    layer,
    site,
    persona,
    other_persona,
    corrected,
    case when reach is not null then greatest(-1, corrected - reach) end as low,
    case when reach is not null then least(1, corrected + reach) end as high,
    corrected_centered,
    case when reach_centered is not null then greatest(-1, corrected_centered - reach_centered) end as low_centered,
    case when reach_centered is not null then least(1, corrected_centered + reach_centered) end as high_centered,
    n_questions,
    n_personas
  from reaches
)
select * from final
