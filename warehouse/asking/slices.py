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
# Parts whose rows are of readouts of the checkpoint, with the columns that name their runs: one readout is asked about faster than all that a lake holds.
OF_READOUTS = {
    "slice_attention": ("run_id",),
    "slice_gates": ("run_id",),
    "slice_heads": ("run_id",),
    "slice_training": ("run_id", "base_run"),
}
FEW = 4  # readouts that are asked about one by one
SORTED = ("topic", "measure", "persona", "other", "place", "layer", "head", "run_id", "base_run")
WHOLE_MODEL = ("slice_markers", "slice_answers")  # whose figures are of no layer: asked alike for each


def parts() -> list[str]:
    """The views that `slice` unites, in ORDER; a part that ORDER does not name comes last."""
    found = views()["slice"].reads
    return [*(name for name in ORDER if name in found), *sorted(found - set(ORDER))]


def collect(
    source: Source, checkpoint: str, persona: str | None, layer: int | None, every: Collection[str] = (), tokens_of: Collection[str] = ()
) -> pl.DataFrame:
    """The figures of one checkpoint: those of the persona and of none, of the layer and of the whole model; of every persona or layer that `every` names.

    `tokens_of`: where it read the tokens of these checkpoints, the figures of those readouts and of no other.

    Each part is asked by itself, since DuckDB takes longer to plan and run their union, and for the whole checkpoint, so that another persona asks nothing.
    """
    readouts = source.select(
        "select run_id, base_run, tokens_from from subjects left join subject_pairs on trained_run = run_id where checkpoint = $checkpoint",
        checkpoint=checkpoint,
    )
    if (of_these := readouts.filter(pl.col("tokens_from").is_in(list(tokens_of)))).height:
        readouts = of_these
    found = []
    for part in parts():
        rows = _rows(source, part, checkpoint, readouts)
        for name, value in (("persona", persona), ("layer", layer)):
            if name not in every and not (name == "layer" and part in WHOLE_MODEL):
                rows = rows.filter(pl.col(name).eq_missing(pl.lit(value)) | pl.col(name).is_null())
        found.append(rows)
    return pl.concat([each for each in found if each.height] or found[:1], how="vertical_relaxed").select(list(view_types(["slice"])["slice"]))


def _rows(source: Source, part: str, checkpoint: str, readouts: pl.DataFrame) -> pl.DataFrame:
    """The rows of one part, SORTED; those of few readouts are asked for one after the other, and of none nothing is read."""
    columns = OF_READOUTS.get(part, ())
    runs = readouts.select(columns).drop_nulls().unique().sort(columns) if columns else readouts.clear()
    where, named = "", runs.rows(named=True)
    if columns and runs.height <= FEW:
        where = "".join(f" and {column} = ${column}" for column in columns) if named else " and false"
    query = f"from {part} where checkpoint = $checkpoint{where} order by {', '.join(SORTED)}"
    found = pl.concat([source.select(query, checkpoint=checkpoint, **names) for names in (named if named and where else [{}])])
    return found.sort(SORTED, nulls_last=True).filter(pl.col("run_id").is_in(readouts["run_id"].to_list())) if columns else found
