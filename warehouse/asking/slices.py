"""Everything that the lake knows of one checkpoint, persona and layer: the rows of the view `slice`, asked of its parts in turn."""

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


def collect(source: Source, checkpoint: str, persona: str | None, layer: int | None, every_layer: bool = False) -> pl.DataFrame:
    """The figures of one checkpoint: those of the persona and of none, of the layer and of the whole model; `every_layer`: of all layers.

    Each part is asked by itself: DuckDB takes twice as long to plan their union as to plan and run them in turn.
    """
    found = []
    for part in parts():
        of_layer = not every_layer and part not in WHOLE_MODEL
        chosen = {"checkpoint": checkpoint, "persona": persona} | ({"layer": layer} if of_layer else {})
        layers = "(layer is not distinct from $layer or layer is null)" if of_layer else "true"
        query = f"""from {part} where checkpoint = $checkpoint and (persona is not distinct from $persona or persona is null) and {layers}
          order by topic, measure, other, place, layer, head, run_id, base_run"""
        found.append(source.select(query, **chosen))
    return pl.concat([each for each in found if each.height] or found[:1], how="vertical_relaxed").select(list(view_types(["slice"])["slice"]))
