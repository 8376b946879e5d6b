-- rfc_profile_pairs: RFC differences of two families layer by layer, aligned by layer index and by relative depth: the points of rfc_correlation
-- grain: base_run_a, instruct_run_a, base_run_b, instruct_run_b, family_a, family_b, alignment, point
-- source: layer index as in mduffster/self-referent-test; relative depth own
-- columns:
--   base_run_a: run of the base variant of family a
--   instruct_run_a: run of its instruct variant
--   base_run_b: run of the base variant of family b
--   instruct_run_b: run of its instruct variant
--   origin: extracted or published; only comparisons of one origin are paired
--   family_a: first family, in alphabetical order
--   family_b: second family
--   alignment: layer index (layer k of one with layer k of the other, as far as both have it) or relative depth (at the shallower family's
--     layers, the first layers and the last ones together; the deeper profile is interpolated linearly between its two nearest layers)
--   point: number of the pair from 0; the layer of the shallower family
--   depth: point as a share of the shallower family's last layer, 0 to 1
--   n_layers_a: layers of family a
--   n_layers_b: layers of family b
--   low_a: layer of family a at or above the point
--   share_a: how far the point lies on the way to its next layer, 0 to 1
--   low_b: layer of family b at or above the point
--   share_b: how far on the way to its next layer
--   rfc_diff_a: rfc_diff of family a
--   rfc_diff_b: rfc_diff of family b
--   rsi_diff_a: rsi_diff of family a
--   rsi_diff_b: rsi_diff of family b
with differences as (
  select base_run, instruct_run, origin, family, prompt_set, form, layer, n_layers, rfc_diff, rsi_diff from rfc_diff
),
profiles as (
  select distinct base_run, instruct_run, origin, family, prompt_set, form, n_layers from differences
),
pairs as (
  select
    a.base_run as base_run_a,
    a.instruct_run as instruct_run_a,
    b.base_run as base_run_b,
    b.instruct_run as instruct_run_b,
    a.origin,
    a.family as family_a,
    b.family as family_b,
    a.n_layers as n_layers_a,
    b.n_layers as n_layers_b,
    least(a.n_layers, b.n_layers) as n_points
  from profiles as a
  join profiles as b
    on b.origin = a.origin
    and b.family > a.family
    and b.prompt_set is not distinct from a.prompt_set
    and b.form is not distinct from a.form
),
points as (
  select *, unnest(range(n_points))::integer as point from pairs
),
-- where each point lies in both profiles, in whole numbers: layer `low` plus `over` parts of `n_points - 1`
places as (
  select *, 'layer index' as alignment, point as low_a, 0 as over_a, point as low_b, 0 as over_b from points
  union all
  select
    *,
    'relative depth',
    coalesce((point * (n_layers_a - 1)) // nullif(n_points - 1, 0), 0)::integer,
    coalesce((point * (n_layers_a - 1)) % nullif(n_points - 1, 0), 0)::integer,
    coalesce((point * (n_layers_b - 1)) // nullif(n_points - 1, 0), 0)::integer,
    coalesce((point * (n_layers_b - 1)) % nullif(n_points - 1, 0), 0)::integer
  from points
),
weighted as (
  select *, coalesce(over_a / nullif(n_points - 1, 0), 0) as share_a, coalesce(over_b / nullif(n_points - 1, 0), 0) as share_b from places
),
final as (
  select
    w.base_run_a,
    w.instruct_run_a,
    w.base_run_b,
    w.instruct_run_b,
    w.origin,
    w.family_a,
    w.family_b,
    w.alignment,
    w.point,
    coalesce(w.point / nullif(w.n_points - 1, 0), 0) as depth,
    w.n_layers_a,
    w.n_layers_b,
    w.low_a,
    w.share_a,
    w.low_b,
    w.share_b,
    a.rfc_diff + w.share_a * (a_next.rfc_diff - a.rfc_diff) as rfc_diff_a,
    b.rfc_diff + w.share_b * (b_next.rfc_diff - b.rfc_diff) as rfc_diff_b,
    a.rsi_diff + w.share_a * (a_next.rsi_diff - a.rsi_diff) as rsi_diff_a,
    b.rsi_diff + w.share_b * (b_next.rsi_diff - b.rsi_diff) as rsi_diff_b
  from weighted as w
  join differences as a on a.base_run = w.base_run_a and a.instruct_run = w.instruct_run_a and a.family = w.family_a and a.layer = w.low_a
  join differences as a_next
    on a_next.base_run = w.base_run_a
    and a_next.instruct_run = w.instruct_run_a
    and a_next.family = w.family_a
    and a_next.layer = w.low_a + (w.over_a > 0)::integer
  join differences as b on b.base_run = w.base_run_b and b.instruct_run = w.instruct_run_b and b.family = w.family_b and b.layer = w.low_b
  join differences as b_next
    on b_next.base_run = w.base_run_b
    and b_next.instruct_run = w.instruct_run_b
    and b_next.family = w.family_b
    and b_next.layer = w.low_b + (w.over_b > 0)::integer
)
select * from final
