"""The SAE features that differ most between two conditions, per layer."""

import polars as pl

from personascope.warehouse.asking.source import Source
from personascope.warehouse.drawing import charts
from personascope.warehouse.drawing.charts import Drawing
from personascope.warehouse.drawing.words import NOTHING_KNOWN, count

NEEDS = "features of two conditions per prompt, or published differences: `personascope ingest published PATH`"
ROW, MOST = 24, 20


def draw(lake: Source, study: str, origin: str | None = None) -> list[Drawing]:
    """One bar a feature, the largest effects per run, layer, position and pair of conditions; of one `origin` where it is given."""
    only = "" if origin is None else " and d.origin = $origin"
    rows = lake.select(
        f"""select d.run_id, d.origin, d.layer, d.stratum, d.condition_a, d.condition_b, d.n_significant, d.feature, d.effect, d.threshold, d.significant,
          d.n_distinct, d.sae_id, d.site, d.maxt_p, d.n, d.refused
        from feature_differences as d join runs as r using (run_id) where coalesce(r.study, $study) = $study{only} and d.rank <= {MOST} and d.effect is not null
        order by d.origin, d.layer, d.stratum, d.run_id, d.condition_a, d.condition_b, d.effect desc, d.feature""",
        study=study,
        **({} if origin is None else {"origin": origin}),
    )
    found = rows.partition_by("run_id", "sae_id", "site", "layer", "stratum", "condition_a", "condition_b", maintain_order=True)
    drawings = []
    for number, each in enumerate(found, 1):
        run_id, origin, layer, stratum, one, other, n_significant = each.row(0)[:7]
        distinct = each["n_distinct"].drop_nulls()
        facts = (
            f"{origin}; {(stratum or NOTHING_KNOWN).replace('_', ' ')}; the {count(each.height, 'feature')} with the largest effect at hand; "
            f"significant in the layer: {n_significant if n_significant is not None else NOTHING_KNOWN}",
            f"distinct inputs: {min(distinct) if len(distinct) else NOTHING_KNOWN}; difference of means over the root mean of both variances; "
            "max-statistic permutation of shuffled labels; seed " + ("not recorded" if origin == "published" else "in feature_tests, as for the paired maxt_p"),
        )
        figure = charts.bars(
            each.with_columns(label=pl.format("F{}", "feature")).drop("run_id", "origin", "sae_id", "site", "refused"),
            "effect",
            f"effect, {one or 'a'} minus {other or 'b'}",
        )
        title = f"Features that differ most: {one or 'condition a'} minus {other or 'condition b'}{f', layer {layer}' if layer is not None else ''}"
        name = f"feature effects{f' {number}' if len(found) > 1 else ''}"
        drawings.append(Drawing(name, title, facts, ROW * max(4, each.height), figure, frozenset({run_id})))
    return drawings
