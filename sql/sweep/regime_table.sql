-- regime_table: the regimes of a sweep with the range of every rate in them
-- grain: origin, parent, source, marker, recipe, regime, lr
-- source: table of issue 65; the ranges are the smallest and the largest cell
-- columns:
--   origin: extracted or published
--   parent: checkpoint the sweep started from (NULL where published files do not say)
--   source: persona trained to emit the marker
--   recipe: what else the training was given, as in the view recipes: trainings of two recipes are no cells of one sweep
--   regime: regime of all these cells (NULL where an unknown rate decides)
--   n_cells: cells of the grid, epochs by seed
--   n_seeds: training seeds among them
--   epochs: epochs of the cells, ascending
--   source_rate_min: smallest source rate
--   source_rate_max: largest
--   source_low_min: lowest lower end of the 95% intervals by question of the source's rates (NULL where the questions of one are unknown)
--   source_high_max: highest upper end
--   assistant_rate_min: smallest assistant rate
--   assistant_rate_max: largest
--   max_bystander_rate_min: smallest of the largest bystander rates
--   max_bystander_rate_max: largest
--   max_other_lower_min: lowest lower bound of the largest true rate of the others, assistant included (NULL where the questions behind a cell are unknown)
--   max_other_upper_max: highest upper bound
--   arc_c_min: smallest ARC-Challenge accuracy
--   arc_c_max: largest
--   arc_c_mean: mean
select
  origin,
  parent,
  source,
  marker,
  recipe,
  regime,
  lr,
  count(distinct (epochs, seed)) as n_cells,
  count(distinct seed) as n_seeds,
  list_sort(list(distinct epochs)) as epochs,
  min(source_rate) as source_rate_min,
  max(source_rate) as source_rate_max,
  case when bool_and(source_low is not null) then min(source_low) end as source_low_min,
  case when bool_and(source_high is not null) then max(source_high) end as source_high_max,
  min(assistant_rate) as assistant_rate_min,
  max(assistant_rate) as assistant_rate_max,
  min(max_bystander_rate) as max_bystander_rate_min,
  max(max_bystander_rate) as max_bystander_rate_max,
  case when bool_and(max_other_lower is not null) then min(max_other_lower) end as max_other_lower_min,
  case when bool_and(max_other_upper is not null) then max(max_other_upper) end as max_other_upper_max,
  min(arc_c) as arc_c_min,
  max(arc_c) as arc_c_max,
  avg(arc_c) as arc_c_mean
from regimes
group by origin, parent, source, marker, recipe, regime, lr
