"""How alike two phrasings of one task are at the last token, layer by layer: cosine of their residual streams."""

import polars as pl

from personascope.warehouse.asking.source import Source
from personascope.warehouse.drawing import charts
from personascope.warehouse.drawing.charts import Drawing
from personascope.warehouse.drawing.circuit_readers import sample
from personascope.warehouse.drawing.words import count_range

NEEDS = "activations at the last token of prompts in two phrasings: `personascope run echo`"
SHOWS = ("prompt_form_cosines",)
SIZES = ((1 - pl.col("mean")).max(),)
HEIGHT = 280
SITE = "resid_post"


def draw(lake: Source, study: str) -> list[Drawing]:
    """One figure for the study, a line per checkpoint and pair of phrasings."""
    drawing = similarity(lake, study)
    return [] if drawing is None else [drawing]


def similarity(lake: Source, study: str | None = None, checkpoint: str | None = None) -> Drawing | None:
    """Mean cosine by layer with intervals over questions, a line per checkpoint and pair of phrasings; None where no phrasings were read side by side."""
    rows = lake.select(
        """select c.checkpoint || ': ' || c.form_a || ' and ' || c.form_b as series, c.layer, c.cosine as mean, c.cosine_low as low, c.cosine_high as high,
          c.lowest, c.highest, c.n, c.n_clusters as questions, c.run_id
        from prompt_form_cosines as c join runs as r using (run_id)
        where c.site = $site and c.stratum = 'last' and ($study is null or coalesce(r.study, $study) = $study)
          and ($checkpoint is null or c.checkpoint = $checkpoint)
        qualify row_number() over (partition by c.checkpoint, c.form_a, c.form_b, c.layer order by r.finished desc, c.run_id) = 1
        order by series, c.layer""",
        site=SITE,
        study=study,
        checkpoint=checkpoint,
    )
    if rows.is_empty():
        return None
    names = rows["series"].unique(maintain_order=True).to_list()
    facts = (
        "residual stream behind each layer, last token of the prompt; line: mean cosine over pairs that ask for the same word",
        f"band: 95% t interval over questions, each layer alone; {_pairs(rows)}; no random draw, so no seed",
    )
    figure = charts.curves(rows.drop("run_id"), "cosine", names)
    return Drawing("prompt form similarity", "How alike two phrasings are at the last token", facts, HEIGHT, figure, frozenset(rows["run_id"]))


def _pairs(rows: pl.DataFrame) -> str:
    return f"{count_range(rows['n'], 'pair')} of {sample(max(rows['questions']), None, 'question')}"
