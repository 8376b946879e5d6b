"""How often a checkpoint emits the marker under each persona, with its interval by question, and Wilson's beside it."""

import polars as pl

from personascope.warehouse.asking.source import Source
from personascope.warehouse.drawing import charts
from personascope.warehouse.drawing.charts import Drawing
from personascope.warehouse.drawing.rate_intervals import both_intervals, interval_facts
from personascope.warehouse.drawing.roles import LABEL, PLACE, role_facts
from personascope.warehouse.drawing.words import count, count_range

NEEDS = "completions of a study (`personascope run marker-attention`), or others whose attention was read (`personascope extract attention`)"
SHOWS = ("marker_rates",)
SIZES = (pl.col("rate").max(),)
LINE, LEAST_LINES = 26, 4
# Completions that a training read are its data, no result of the study.
RUNS = """with kept as (
    select run_id from runs
    where coalesce(study, $study) = $study and run_id not in (select unnest(inputs) from runs where extractor in ('marker-lora', 'failed-marker-lora'))
      and (study is not null or run_id in (select tokens_run from subjects where tokens_run is not null))
  ),
  seeds as (select origin, checkpoint, max(n_seeds) as n_seeds from coverage group by origin, checkpoint)
  select distinct m.run_id, m.checkpoint, m.marker, m.origin, c.source_persona, c.seed, s.n_seeds
  from marker_rates as m
  join kept using (run_id)
  left join checkpoints as c on c.run_id = m.run_id and c.checkpoint = m.checkpoint
  left join seeds as s on s.origin = m.origin and s.checkpoint = m.checkpoint
  order by m.origin, c.source_persona is null, m.checkpoint, m.marker, m.run_id"""


def draw(lake: Source, study: str) -> list[Drawing]:
    """Every checkpoint that was sampled for the study, or whose answers were read; training data left out."""
    found = lake.select(RUNS, study=study).rows(named=True)
    drawn = []
    for row in found:
        twice = sum(each["checkpoint"] == row["checkpoint"] for each in found) > 1
        name = " ".join(["marker rates", row["checkpoint"], *([row["run_id"]] if twice else [])])
        seed = f"training seed {row['seed']}, {count(row['n_seeds'] or None, 'training seed')} in all" if row["seed"] is not None else "no training seed known"
        drawn.append(rates(lake, row["run_id"], row["marker"], name, f"Marker rate by persona: {row['checkpoint']}", seed))
    return drawn


def rates(lake: Source, run_id: str, marker: str | None, name: str, title: str, seed: str) -> Drawing:
    """The rate under every persona of one run: source, negatives and held-out ones apart, each from the largest; `seed` says in words what is known of it."""
    rows = lake.select(
        f"""select persona, role, {LABEL} as label, rate, wilson_low, wilson_high, clustered_low,
          clustered_high, clustered_method, k, n, n_questions, n_from, category
        from marker_rates where run_id = $run_id and marker is not distinct from $marker
        order by {PLACE}, rate desc, persona""",
        run_id=run_id,
        marker=marker,
    )
    drawn, names = both_intervals(rows, "k", "n", "category", "clustered_method")
    counted = ", ".join(sorted({"stated in the file" if each == "stated" else each for each in rows["n_from"].drop_nulls()}))
    facts = (
        f"a persona: {count_range(rows['n'], 'completion')} of {count_range(rows['n_questions'], 'question')}{f' ({counted})' if counted else ''}; {seed}",
        *role_facts(rows),
        interval_facts(rows["clustered_method"]),
    )
    figure = charts.rates(drawn, "share of completions that hold the marker", names)
    return Drawing(name, title, facts, max(LEAST_LINES, rows.height) * LINE, figure, frozenset({run_id}))
