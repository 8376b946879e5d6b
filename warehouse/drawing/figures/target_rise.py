"""How the target rises through the layers: its median rank and probability in the logit lens, which fall and grow long before it is the first choice."""

import polars as pl

from personascope.warehouse.asking.source import Source
from personascope.warehouse.drawing import charts
from personascope.warehouse.drawing.charts import Drawing
from personascope.warehouse.drawing.circuit_readers import Reader, readers, sample

NEEDS = "a logit lens over prompts: `personascope run echo`"
SHOWS = ("target_rise", "logit_lens_layers")
SIZES = (pl.col("mean").abs().max(),)
HEIGHT = 260
VALUES = {"rank": "median rank of the target", "prob": "median probability of the target"}
TITLES = {"rank": "How the target's rank falls", "prob": "How the target's probability grows"}


def draw(lake: Source, study: str) -> list[Drawing]:
    """Rank and probability of every reader of prompts."""
    found = (
        rise(lake, reader, value, f"target {value} {reader.name}")
        for reader in readers(lake, study)
        if reader.lens_run and reader.stratum != "marker"
        for value in VALUES
    )
    return [each for each in found if each is not None]


def rise(lake: Source, reader: Reader, value: str, name: str) -> Drawing | None:
    """One of VALUES by layer, a line with its interval per phrasing; None where no logit lens was read."""
    other = "prob" if value == "rank" else "rank"
    rows = lake.select(
        f"""select prompt_form as series, layer, {value} as mean, {value}_low as low, {value}_high as high, {other} as median_{other}, n_top1 as top1,
          n, n_clusters as questions, coverage
        from target_rise
        where run_id = $run and subject = $subject and stratum = $stratum and prompt_form <> 'all'
        order by series, layer""",
        run=reader.lens_run,
        subject=reader.subject,
        stratum=reader.stratum,
    )
    if rows.is_empty():
        return None
    rows = rows.with_columns(pl.col("series").map_elements(reader.form_words, return_dtype=pl.String))
    forms = rows.unique("series", maintain_order=True)
    known = rows["coverage"].drop_nulls()
    bands = f"bands: intervals of the median by order statistics, coverage at least {min(known):.1%}" if len(known) else "fewer than six questions: no bands"
    facts = (
        f"{reader.subject}; logit lens; −1 is the embeddings, {max(rows['layer'])} the last layer; median over questions, each layer alone",
        "; ".join(f"{row['series']}: {sample(row['n'], row['questions'], reader.what)}" for row in forms.rows(named=True)),
        f"{bands}; no random draw, so no seed",
    )
    figure = charts.curves(rows, VALUES[value], forms["series"].to_list(), ranks=value == "rank")
    return Drawing(name, TITLES[value], facts, HEIGHT, figure, frozenset({reader.lens_run} if reader.lens_run else ()))
