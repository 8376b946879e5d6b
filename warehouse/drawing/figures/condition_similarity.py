"""How alike system-prompt conditions are: cosine between their mean SAE feature vectors, or mean activations, per layer and position."""

import polars as pl

from personascope.warehouse.asking.source import Source
from personascope.warehouse.drawing import maps
from personascope.warehouse.drawing.charts import Drawing
from personascope.warehouse.drawing.places import place_words
from personascope.warehouse.drawing.words import count_range

NEEDS = "mean feature vectors per condition, or published similarities: `personascope ingest published PATH`"
SHOWS = ("condition_similarity", "condition_outliers")
SIZES = ((1 - pl.col("cosine")).max(),)
ROW, WIDTH = 56, 720


def interval_words(low: pl.Series) -> str:
    """What low and high of the cells are, or that there are none."""
    if low.null_count() == len(low):
        return "no interval: not computed yet (personascope analyse), or the questions do not differ"
    return "low to high: 95% jackknife interval over questions of the cosine without what they add to the length of a mean; each pair alone, no seed"


def draw(lake: Source, study: str, origin: str | None = None) -> list[Drawing]:
    """One matrix per run, layer, site, position and basis; activations that were encoded are left out where a run of activations shows the same.

    Of one `origin` where it is given.
    """
    only = "" if origin is None else " and c.origin = $origin"
    rows = lake.select(
        f"""select c.run_id, c.origin, c.layer, c.stratum, c.condition_a, c.condition_b, c.cosine, c.decimals, c.basis, c.sae_id, c.n_a, c.n_b,
          c.corrected, c.low, c.high, c.site
        from condition_similarity as c join runs as r using (run_id) where coalesce(r.study, $study) = $study{only}
        qualify c.basis = 'features' or c.sae_id is null
          or bool_and(c.sae_id is not null) over (partition by r.checkpoint, c.basis, c.layer, c.site, c.stratum, c.condition_a, c.condition_b)
        order by c.origin, c.layer, c.site, c.stratum, c.run_id, c.basis, c.sae_id, c.condition_a, c.condition_b""",
        study=study,
        **({} if origin is None else {"origin": origin}),
    )
    found = rows.partition_by("run_id", "layer", "site", "stratum", "basis", "sae_id", maintain_order=True)
    drawings = []
    for number, each in enumerate(found, 1):
        run_id, origin, layer, stratum = each.row(0)[:4]
        order = each["condition_a"].unique(maintain_order=True).to_list()
        printed = each["decimals"].drop_nulls().unique().to_list()
        readings = each["n_a"].drop_nulls()
        facts = (
            f"{origin}; {len(order)} conditions; cosine of mean vectors{f', as printed to {max(printed)} decimals' if printed else ''}",
            "number of prompts and seed not recorded; no interval, since the single vectors are not in the lake"
            if readings.is_empty()
            else f"mean over {count_range(readings, 'reading')} a condition; {interval_words(each['low'])}",
        )
        parts = (
            None if layer is None else f"layer {layer}",
            place_words(each["site"][0]),
            place_words(stratum),
            each["basis"][0] if origin == "extracted" else None,
        )
        where = ", ".join(part for part in parts if part)
        figure = maps.matrix(each.drop("run_id", "origin", "basis", "sae_id", "site"), "condition_b", "condition_a", "cosine", ("", "", "cosine"), order)
        name = f"condition similarity{f' {number}' if len(found) > 1 else ''}"
        drawings.append(Drawing(name, f"How alike the conditions are: {where or origin}", facts, ROW * len(order), figure, frozenset({run_id}), WIDTH))
    return drawings
