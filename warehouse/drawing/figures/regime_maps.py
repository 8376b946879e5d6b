"""The rates that tell a regime, over learning rate and epochs: source, assistant, largest bystander; where trainings say it, negatives and held-out apart."""

import polars as pl

from personascope.warehouse.asking.source import Source
from personascope.warehouse.drawing.charts import Drawing
from personascope.warehouse.drawing.maps import rate_cells
from personascope.warehouse.drawing.words import NOTHING_KNOWN, REGIME_LETTERS, REGIMES, UNJUDGED, count, count_range, trainings

NEEDS = "trained checkpoints of known learning rate and epochs with marker rates: `personascope run lr-epochs`, or `personascope ingest published PATH`"
SHOWS = ("regimes", "regime_table", "clean_band")
SIZES = (pl.col("rate").max(),)
ROW, WIDTH = 50, 560
LEGEND = ("U under-trained, P partial, C clean (framed)", "O collapse onset, B broad leakage, T total collapse; grey: not in this lake")
# Whose rate a map shows: what it is called, its persona and its rate in the view `regimes`.
MAPS = {
    "source": ("Source", "c.source", "c.source_rate"),
    "assistant": ("Assistant", "'assistant'", "c.assistant_rate"),
    "bystander": ("Largest bystander", "c.max_bystander_persona", "c.max_bystander_rate"),
    "negative": ("Largest negative, trained on without the marker", "c.max_negative_persona", "c.max_negative_rate"),
    "held out": ("Largest held-out persona, never trained on", "c.max_held_out_persona", "c.max_held_out_rate"),
}
ALWAYS_DRAWN = ("source", "bystander")
KEYS = ("origin", "source", "parent", "marker", "recipe", "seed")
SWEEPS = """select s.origin, s.source, s.parent, s.marker, s.recipe, s.seed, count(distinct (s.lr, s.epochs)) as n_cells
  from regimes as s join runs as r using (run_id)
  where coalesce(r.study, $study) = $study and s.lr is not null and s.epochs is not null
  group by s.origin, s.source, s.parent, s.marker, s.recipe, s.seed
  order by s.origin, n_cells desc, s.source, s.parent, s.marker, s.recipe, s.seed"""
CELLS = """with cells as (
    select s.* from regimes as s join runs as r using (run_id)
    where s.origin = $origin and s.source is not distinct from $source and s.parent is not distinct from $parent and s.marker is not distinct from $marker
      and s.recipe is not distinct from $recipe and s.seed is not distinct from $seed and coalesce(r.study, $study) = $study
    qualify row_number() over (partition by s.lr, s.epochs order by r.finished desc, s.run_id) = 1
  ),
  grid as (select a.lr, b.epochs from (select distinct lr from cells) as a cross join (select distinct epochs from cells) as b)"""


def draw(lake: Source, study: str) -> list[Drawing]:
    """Maps of every sweep of more than one cell, one source persona and seed, by the thresholds of the view, of those whose rates are known."""
    found = [row for row in lake.select(SWEEPS, study=study).rows(named=True) if row["n_cells"] > 1]
    drawings: list[Drawing] = []
    for number, sweep in enumerate(found, 1):
        drawings += maps(lake, study, {name: sweep[name] for name in KEYS}, f" {number}" if len(found) > 1 else "")
    return drawings


def maps(lake: Source, study: str, sweep: dict, suffix: str) -> list[Drawing]:
    """The maps of one sweep."""
    whose, rates = (" ".join(f"when '{role}' then {columns[part]}" for role, columns in MAPS.items()) for part in (1, 2))
    found = lake.select(
        f"""{CELLS}
        select w.role, g.lr, g.epochs, c.regime, array_to_string(c.regime_supported, ' or ') as intervals_allow, c.run_id,
          case w.role {whose} end as persona, case w.role {rates} end as rate,
          m.clustered_low, m.clustered_high, m.clustered_method, m.wilson_low, m.wilson_high, m.k, m.n, m.n_questions, m.n_from
        from grid as g
        cross join (select unnest({list(MAPS)}) as role) as w
        left join cells as c using (lr, epochs)
        left join marker_rates as m on m.run_id = c.run_id and m.persona = case w.role {whose} end and m.marker is not distinct from c.marker
        order by g.lr, g.epochs""",
        study=study,
        **sweep,
    )
    of = trainings(sweep["origin"], sweep["seed"], sweep["recipe"])
    drawings = []
    for role, (title, _, _) in MAPS.items():
        rows = found.filter(role=role)
        trained = pl.col("run_id").is_not_null()
        known = rows.filter(trained)
        if role not in ALWAYS_DRAWN and not known["rate"].count():
            continue
        design = ", by the study's design" if "design" in set(known["n_from"]) else ""
        facts = (
            f"{sweep['origin']}: {count(known.height, 'cell')}, source {sweep['source'] or NOTHING_KNOWN}, {of}",
            f"a cell: {count_range(known['n'], 'completion')} of {count_range(known['n_questions'], 'question')}{design}; point estimates",
            f"95% intervals by question allow more than one regime in {known['intervals_allow'].str.contains(' or ').sum()} of {known.height}",
            *LEGEND,
        )
        drawn = rows.with_columns(
            pl.col("intervals_allow").str.replace_many(REGIMES),
            words=pl.when(trained).then(pl.col("regime").replace_strict(REGIME_LETTERS, default=UNJUDGED)).otherwise(pl.lit("")),
            framed=pl.col("regime").eq_missing("clean"),
            chosen=pl.lit(False),
        ).drop("role", "run_id")
        figure = rate_cells(drawn, "epochs", "lr", ("epochs", "learning rate"))
        name = f"{title}: marker rate under {sweep['source']}" if role == "source" and sweep["source"] else f"{title}: marker rate"
        drawings.append(Drawing(f"regime map {role}{suffix}", name, facts, ROW * rows["lr"].n_unique(), figure, frozenset(known["run_id"]), WIDTH))
    return drawings
