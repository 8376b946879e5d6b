"""Which heads look at the first token: their attention from the place that is read, head by head."""

import polars as pl

from personascope.warehouse.asking.source import Source
from personascope.warehouse.drawing import maps
from personascope.warehouse.drawing.charts import Drawing
from personascope.warehouse.drawing.circuit_readers import Reader, readers, sample

NEEDS = "direct attributions, which read the attention of every head too: `personascope run echo`"
SHOWS = ("head_effects", "attributions")
SIZES = (pl.col("rate").max(),)
LINE = 18


def draw(lake: Source, study: str) -> list[Drawing]:
    """One map per reader."""
    found = (sinks(lake, reader, f"attention sinks {reader.name}") for reader in readers(lake, study) if reader.attribution_run)
    return [each for each in found if each is not None]


def sinks(lake: Source, reader: Reader, name: str) -> Drawing | None:
    """Mean attention to the first token by layer and head; None where it was not read."""
    rows = lake.select(
        """select 'layer ' || layer as layer, head::varchar as head, bos_fraction as rate, attention_entropy, n, n_clusters as questions from head_effects
        where attribution_run = $run and stratum = $stratum and prompt_form = 'all' and bos_fraction is not null
        order by head_effects.layer, head_effects.head""",
        run=reader.attribution_run,
        stratum=reader.stratum,
    )
    if rows.is_empty():
        return None
    facts = (
        f"{reader.subject}; mean over {sample(max(rows['n']), max(rows['questions']), reader.what)}; no test, no seed",
        "the first token can see itself alone, so what heads read there is the same at every prompt that begins alike",
    )
    layers = rows["layer"].unique(maintain_order=True).to_list()
    figure = maps.rate_matrix(rows, "head", "layer", "head, counted from 0", layers)
    height = max(160, min(LINE * len(layers), 640))
    return Drawing(name, "Attention to the first token", facts, height, figure, frozenset({reader.attribution_run} if reader.attribution_run else ()))
