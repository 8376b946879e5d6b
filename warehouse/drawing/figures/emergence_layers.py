"""At which layer the target becomes the top-1 token of the logit lens and stays it: how many prompts of each phrasing."""

import polars as pl

from personascope.warehouse.asking.source import Source
from personascope.warehouse.drawing import charts
from personascope.warehouse.drawing.charts import Drawing
from personascope.warehouse.drawing.circuit_readers import Reader, readers, sample

NEEDS = "a logit lens over prompts with a target: `personascope run echo`"
SHOWS = ("emergence_histogram", "emergence")
SIZES = (pl.col("n").max(),)
HEIGHT = 260
MEASURES = {
    "stays": "the target alone is top-1 from this layer on",
    "stays, one word": "the same with “cat”, “ cat” and “Cat” as one word",
    "first": "the target alone is top-1 for the first time",
}


def draw(lake: Source, study: str) -> list[Drawing]:
    """One histogram per reader of prompts, the target staying top-1."""
    found = (emergence(lake, reader, "stays", f"emergence {reader.name}") for reader in readers(lake, study) if reader.lens_run and reader.stratum != "marker")
    return [each for each in found if each is not None]


def emergence(lake: Source, reader: Reader, measure: str, name: str) -> Drawing | None:
    """Prompts by layer of emergence, a colour per phrasing; prompts where it never comes stand at the right. None where no logit lens was read."""
    rows = lake.select(
        """select prompt_form as series, layer, coalesce(layer::varchar, reason) as place, n, n_prompts as prompts, n_clusters as questions, share,
          clustered_low as low, clustered_high as high
        from emergence_histogram
        where run_id = $run and subject = $subject and stratum = $stratum and measure = $measure and prompt_form <> 'all'
        order by layer nulls last, place, series""",
        run=reader.lens_run,
        subject=reader.subject,
        stratum=reader.stratum,
        measure=measure,
    )
    if rows.is_empty():
        return None
    rows = rows.with_columns(pl.col("series").map_elements(reader.form_words, return_dtype=pl.String))
    depths = lake.select("select max(layer) as last from logit_lens where run_id = $run and rank = 1", run=reader.lens_run)["last"].item()
    missing = rows.filter(rows["layer"].is_null())["place"].unique(maintain_order=True).to_list()
    order = [*(str(layer) for layer in range(-1, depths + 1)), *missing]
    names = rows["series"].unique().sort().to_list()
    forms = rows.unique("series", maintain_order=True).sort("series")
    facts = (
        f"{reader.subject}; {MEASURES[measure]}; −1 is the embeddings, {depths} the last layer",
        "; ".join(f"{row['series']}: {sample(row['prompts'], row['questions'], reader.what)}" for row in forms.rows(named=True))
        + "; no random draw, so no seed",
    )
    figure = charts.columns(rows, "place", "n", ("layer, counted from 0", f"{reader.what}s"), names, order)
    return Drawing(name, "Where the target emerges", facts, HEIGHT, figure, frozenset({reader.lens_run} if reader.lens_run else ()))
