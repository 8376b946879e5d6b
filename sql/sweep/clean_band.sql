-- clean_band: where the marker keeps to its persona: epochs of each learning rate that are clean under every seed, and what lies around them
-- grain: origin, parent, source, marker, recipe, lr
-- source: own; regimes as in the README of the published sweep
-- columns:
--   origin: extracted or published
--   parent: checkpoint the sweep started from (NULL where published files do not say)
--   source: persona trained to emit the marker
--   recipe: what else the training was given, as in the view recipes: trainings of two recipes are no cells of one sweep
--   first_epochs: fewest epochs that are clean
--   last_epochs: most epochs that are clean
--   n_cells: clean cells of this learning rate, seeds counted once
--   n_seeds: training seeds, the fewest of any clean cell
--   contiguous: no cell between first_epochs and last_epochs is anything but clean
--   before_regimes: regimes at the next fewer epochs (NULL at the edge of the sweep)
--   after_regimes: regimes at the next more epochs
--   lower_lr: next lower learning rate of the sweep
--   lower_lr_regimes: its regimes from first_epochs to last_epochs
--   higher_lr: next higher learning rate
--   higher_lr_regimes: its regimes from first_epochs to last_epochs
--   collapse_lr: lowest learning rate above that collapses, in whatever way, at some epochs from first_epochs to last_epochs (NULL where none does)
--   collapse_factor: collapse_lr over lr: how far the band is from collapse
with cells as (
  select
    origin,
    parent,
    source,
    marker,
    recipe,
    lr,
    epochs,
    count(distinct seed) as n_seeds,
    coalesce(bool_and(regime = 'clean'), false) as clean,
    list_sort(list(distinct regime)) as regimes
  from regimes
  group by origin, parent, source, marker, recipe, lr, epochs
),
placed as (
  select
    *,
    row_number() over steps as epochs_ix,
    dense_rank() over (partition by origin, parent, source, marker, recipe order by lr) as lr_ix,
    lag(regimes) over steps as before_regimes,
    lead(regimes) over steps as after_regimes
  from cells
  window steps as (partition by origin, parent, source, marker, recipe, lr order by epochs)
),
bands as (
  select
    origin,
    parent,
    source,
    marker,
    recipe,
    lr,
    any_value(lr_ix) as lr_ix,
    min(epochs) as first_epochs,
    max(epochs) as last_epochs,
    count(*) as n_cells,
    min(n_seeds) as n_seeds,
    max(epochs_ix) - min(epochs_ix) + 1 = count(*) as contiguous,
    first(before_regimes order by epochs) as before_regimes,
    first(after_regimes order by epochs desc) as after_regimes
  from placed
  where clean
  group by origin, parent, source, marker, recipe, lr
),
beside as (
  select
    b.origin,
    b.parent,
    b.source,
    b.marker,
    b.recipe,
    b.lr,
    max(p.lr) filter (p.lr_ix = b.lr_ix - 1) as lower_lr,
    max(p.lr) filter (p.lr_ix = b.lr_ix + 1) as higher_lr,
    list_sort(list_distinct(flatten(list(p.regimes) filter (p.lr_ix = b.lr_ix - 1 and p.epochs between b.first_epochs and b.last_epochs)))) as lower_lr_regimes,
    list_sort(list_distinct(flatten(list(p.regimes) filter (p.lr_ix = b.lr_ix + 1 and p.epochs between b.first_epochs and b.last_epochs)))) as higher_lr_regimes,
    min(p.lr) filter (
      p.lr_ix > b.lr_ix
      and p.epochs between b.first_epochs and b.last_epochs
      and list_has_any(p.regimes, ['collapse_onset', 'broad_leakage', 'total_collapse'])
    ) as collapse_lr
  from bands as b
  join placed as p
    on p.origin = b.origin
    and p.parent is not distinct from b.parent
    and p.source is not distinct from b.source
    and p.marker is not distinct from b.marker
    and p.recipe is not distinct from b.recipe
  group by b.origin, b.parent, b.source, b.marker, b.recipe, b.lr
),
final as (
  select
    b.origin,
    b.parent,
    b.source,
    b.marker,
    b.recipe,
    b.lr,
    b.first_epochs,
    b.last_epochs,
    b.n_cells,
    b.n_seeds,
    b.contiguous,
    b.before_regimes,
    b.after_regimes,
    s.lower_lr,
    s.lower_lr_regimes,
    s.higher_lr,
    s.higher_lr_regimes,
    s.collapse_lr,
    s.collapse_lr / b.lr as collapse_factor
  from bands as b
  join beside as s
    on s.origin = b.origin
    and s.parent is not distinct from b.parent
    and s.source is not distinct from b.source
    and s.marker is not distinct from b.marker
    and s.recipe is not distinct from b.recipe
    and s.lr = b.lr
)
select * from final
