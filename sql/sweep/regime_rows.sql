-- regime_rows: one learning rate of a sweep over its epochs: whether more training only ever moves a checkpoint towards collapse
-- grain: origin, parent, source, marker, recipe, seed, lr
-- source: own; order of regimes: under_trained, partial, clean, collapse_onset, broad_leakage, total_collapse
-- columns:
--   origin: extracted or published
--   parent: checkpoint the sweep started from (NULL where published files do not say)
--   source: persona trained to emit the marker
--   recipe: what else the training was given, as in the view recipes: trainings of two recipes are no cells of one sweep
--   epochs: epochs of the row, ascending
--   regimes: their regimes
--   source_rates: their source rates
--   monotone: no regime comes before its predecessor in the order (NULL where a regime is unknown)
--   largest_drop: largest fall of the source rate from one epoch count to the next (0 where it never falls)
--   dropped_at: epochs at which it has fallen most (NULL where it never falls)
with cells as (
  select
    origin,
    parent,
    source,
    marker,
    recipe,
    seed,
    lr,
    epochs,
    any_value(regime) as regime,
    avg(source_rate) as source_rate
  from regimes
  group by origin, parent, source, marker, recipe, seed, lr, epochs
),
placed as (
  select
    *,
    list_position(['under_trained', 'partial', 'clean', 'collapse_onset', 'broad_leakage', 'total_collapse'], regime) as place,
    lag(place) over steps as place_before,
    lag(source_rate) over steps - source_rate as fall
  from cells
  window steps as (partition by origin, parent, source, marker, recipe, seed, lr order by epochs)
),
final as (
  select
    origin,
    parent,
    source,
    marker,
    recipe,
    seed,
    lr,
    list(epochs order by epochs) as epochs,
    list(regime order by epochs) as regimes,
    list(source_rate order by epochs) as source_rates,
    case when count(place) = count(*) then bool_and(coalesce(place >= place_before, true)) end as monotone,
    greatest(0, coalesce(max(fall), 0)) as largest_drop,
    case when max(fall) > 0 then arg_max(epochs, fall) end as dropped_at
  from placed
  group by origin, parent, source, marker, recipe, seed, lr
)
select * from final
