-- directions_agreement: how alike a direction comes out on the two halves of the questions, beside the same direction under shuffled labels
-- grain: run_id, layer, site, direction
-- source: own; reliability by split halves (Spearman 1910, Brown 1910), against label shuffling within each question (table directions)
-- columns:
--   direction: name of the direction; controls have no row
--   kind: how it was made: persona_assistant, persona_others, condition, axis or probe
--   agreement: cosine between the direction and the one made in the same way on the other half of the questions
--   agreement_of_all: cosine to be expected between two directions made on as many questions as both halves have together, 2 r / (1 + r) (NULL where agreement is not above 0)
--   n_shuffled: shuffled controls of the direction whose halves were compared likewise
--   shuffled_mean: mean of their agreements
--   shuffled_high: the largest of their agreements
--   p: share of shuffled controls that agree as much or more, the direction counted among them (NULL without shuffled controls)
--   norm: length of the direction, in units of the activations
with found as (
  select run_id, checkpoint, direction, layer, site, kind, stratum, persona, other, half, n, n_questions, norm, other_half_cosine::double as agreement, control_of
  from directions
  where other_half_cosine is not null
),
shuffled as (
  select run_id, layer, site, control_of as direction, list(agreement) as agreements from found where kind = 'shuffled' group by run_id, layer, site, control_of
),
final as (
  select
    f.run_id,
    f.checkpoint,
    f.layer,
    f.site,
    f.direction,
    f.kind,
    f.stratum,
    f.persona,
    f.other,
    f.half,
    f.agreement,
    case when f.agreement > 0 then 2 * f.agreement / (1 + f.agreement) end as agreement_of_all,
    coalesce(len(s.agreements), 0) as n_shuffled,
    list_avg(s.agreements) as shuffled_mean,
    list_max(s.agreements) as shuffled_high,
    (1 + len(list_filter(s.agreements, lambda each: each >= f.agreement))) / (1 + len(s.agreements)) as p,
    f.norm,
    f.n,
    f.n_questions
  from found as f
  left join shuffled as s using (run_id, layer, site, direction)
  where f.control_of is null
)
select * from final
