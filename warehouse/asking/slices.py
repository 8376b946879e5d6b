"""Everything that the lake knows of one checkpoint, persona and layer: the rows of the view `slice`, asked of its parts in turn."""

from collections.abc import Collection

import polars as pl

from personascope.warehouse.asking.shapes import view_types
from personascope.warehouse.asking.source import Source
from personascope.warehouse.asking.views import views

# What a reader meets first: a figure with an interval before one without, the whole layer before its heads.
ORDER = (
    "slice_markers",
    "slice_training",
    "slice_attention",
    "slice_gates",
    "slice_cosines",
    "slice_directions",
    "slice_features",
    "slice_focus",
    "slice_lens",
    "slice_patching",
    "slice_heads",
    "slice_worths",
    "slice_focus_heads",
    "slice_answers",
)
WHOLE_MODEL = ("slice_markers", "slice_answers")  # whose figures are of no layer: asked alike for each


def parts() -> list[str]:
    """The views that `slice` unites, in ORDER; a part that ORDER does not name comes last."""
    found = views()["slice"].reads
    return [*(name for name in ORDER if name in found), *sorted(found - set(ORDER))]


def collect(source: Source, checkpoint: str, persona: str | None, layer: int | None, every: Collection[str] = ()) -> pl.DataFrame:
    """The figures of one checkpoint: those of the persona and of none, of the layer and of the whole model; of every persona or layer that `every` names.

    Each part is asked by itself, since DuckDB takes longer to plan and run their union, and for the whole checkpoint, so that another persona asks nothing.
    """
    found = []
    for part in parts():
        query = f"from {part} where checkpoint = $checkpoint order by topic, measure, persona, other, place, layer, head, run_id, base_run"
        rows = source.select(query, checkpoint=checkpoint)
        for name, value in (("persona", persona), ("layer", layer)):
            if name not in every and not (name == "layer" and part in WHOLE_MODEL):
                rows = rows.filter(pl.col(name).eq_missing(pl.lit(value)) | pl.col(name).is_null())
        found.append(rows)
    return pl.concat([each for each in found if each.height] or found[:1], how="vertical_relaxed").select(list(view_types(["slice"])["slice"]))
