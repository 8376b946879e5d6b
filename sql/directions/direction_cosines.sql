-- direction_cosines: cosine between two directions: of one checkpoint to each other, and the same direction between checkpoints (does training turn it?)
-- grain: run_id, other_run_id, layer, site, direction, other_direction
-- source: own; persona vectors over training after Chen et al. 2025 (arXiv 2507.21509), axes of personas after Lu et al. 2026 (arXiv 2601.10387)
-- columns:
--   direction: name of the first direction; controls have no row
--   other_run_id: run of the second direction: the same one, or any other with a direction of the same name
--   other_checkpoint: checkpoint among whose activations the second one lives
--   other_direction: name of the second direction, the same between runs; both orders stand, no direction with itself
--   kind: how the first one was made
--   half: questions the first one was made on
--   other_half: questions the second one was made on
--   cosine: cosine of the two vectors
--   ceiling: cosine that two noisy readings of one and the same direction would have, sqrt of the product of their agreements between halves of the questions; two
--     directions made on the same questions share some of that noise and may lie above it (NULL where one was made on no questions or agrees with nothing)
--   random_sd: standard deviation of the cosine of two random directions of this width
--   d_model: numbers in a vector
with found as (
  select run_id, checkpoint, layer, site, direction, kind, half, vector::double[] as vector, norm, other_half_cosine::double as agreement
  from directions
  where control_of is null
),
pairs as (
  select
    a.*,
    b.run_id as other_run_id,
    b.checkpoint as other_checkpoint,
    b.direction as other_direction,
    b.half as other_half,
    b.agreement as other_agreement,
    list_dot_product(a.vector, b.vector) / (a.norm * b.norm) as product
  from found as a
  join found as b
    on b.layer = a.layer
    and b.site = a.site
    and len(b.vector) = len(a.vector)
    and (b.run_id = a.run_id) <> (b.direction = a.direction)
),
final as (
  select
    run_id,
    checkpoint,
    layer,
    site,
    direction,
    other_run_id,
    other_checkpoint,
    other_direction,
    kind,
    half,
    other_half,
    greatest(-1, least(1, product)) as cosine,
    case when least(agreement, other_agreement) > 0 then sqrt(agreement * other_agreement) end as ceiling,
    1 / sqrt(len(vector)) as random_sd,
    len(vector) as d_model
  from pairs
)
select * from final
