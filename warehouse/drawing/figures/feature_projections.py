"""How far the difference of two conditions points along named SAE features."""

import polars as pl

from personascope.warehouse.asking.source import Source
from personascope.warehouse.drawing import charts
from personascope.warehouse.drawing.charts import Drawing
from personascope.warehouse.drawing.places import place_or_unknown
from personascope.warehouse.drawing.words import count

NEEDS = "activations per condition with SAE decoder directions, or published projections: `personascope ingest published PATH`"
SHOWS = ("feature_projections", "feature_projection_summary")
SIZES = (pl.col("projection").abs().max(),)
ROW = 30


def draw(lake: Source, study: str, origin: str | None = None) -> list[Drawing]:
    """One bar a feature, per run, layer, position and pair of conditions; of one `origin` where it is given."""
    only = "" if origin is None else " and p.origin = $origin"
    rows = lake.select(
        f"""select p.run_id, p.origin, p.layer, p.stratum, p.condition_a, p.condition_b, p.feature, p.description, p.projection, p.null_mean, p.null_sd, p.p,
          p.null_low, p.null_high, p.n_random, p.n, p.n_distinct, r.seed, p.sae_id, p.site
        from feature_projections as p join runs as r using (run_id) where coalesce(r.study, $study) = $study{only}
        order by p.origin, p.layer, p.stratum, p.run_id, p.condition_a, p.condition_b, p.projection desc, p.feature""",
        study=study,
        **({} if origin is None else {"origin": origin}),
    )
    found = rows.partition_by("run_id", "sae_id", "site", "layer", "stratum", "condition_a", "condition_b", maintain_order=True)
    drawings = []
    for number, each in enumerate(found, 1):
        run_id, origin, layer, stratum, one, other = each.row(0)[:6]
        null, low, high = each.select("null_mean", "null_low", "null_high").row(0)
        range_of_random = "" if low is None else f", 95% of them {low:+.3g} to {high:+.3g}"
        random = (
            f"{each['n_random'][0]} random directions: mean {null:+.3g}{range_of_random}"
            if null is not None
            else "random directions: not in the lake, so no test"
        )
        n, n_distinct, seed = each.select("n", "n_distinct", "seed").row(0)
        sample = f"{count(n, 'question')}, {count(n_distinct, 'distinct input pair')}; seed {seed}" if n else "number of prompts and seed not recorded"
        facts = (
            f"{origin}; {count(each.height, 'feature')}, {place_or_unknown(stratum)}; above 0: {one or 'a'} points along the feature more",
            f"{random}; {sample}",
        )
        labels = each.select(label=pl.format("F{} {}", "feature", pl.col("description").fill_null("")).str.strip_chars())["label"]
        figure = charts.bars(
            each.with_columns(labels).drop("run_id", "origin", "sae_id", "site", "seed"), "projection", "projection on the unit decoder direction"
        )
        name = f"feature projections{f' {number}' if len(found) > 1 else ''}"
        title = f"{one or 'condition a'} minus {other or 'condition b'} along named features{f', layer {layer}' if layer is not None else ''}"
        drawings.append(Drawing(name, title, facts, ROW * each.height, figure, frozenset({run_id})))
    return drawings
