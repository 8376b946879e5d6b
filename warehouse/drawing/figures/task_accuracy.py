"""Does the model do the task? Share of prompts whose next token is the target's first, by phrasing: what every circuit figure of a task rests on."""

import polars as pl

from personascope.warehouse.asking.source import Source
from personascope.warehouse.drawing import charts
from personascope.warehouse.drawing.charts import Drawing
from personascope.warehouse.drawing.circuit_readers import LEAST_ACCURACY, sample

NEEDS = "predictions on prompts with a target: `personascope run echo`"
SHOWS = ("task_accuracy", "predictions")
SIZES = (pl.col("rate").max(),)
LINE = 44


def draw(lake: Source, study: str) -> list[Drawing]:
    """One figure for all checkpoints of the study, a line per phrasing."""
    rows = lake.select(
        """select t.prompt_form as label, t.subject as series, t.accuracy as rate, t.clustered_low as low, t.clustered_high as high,
          t.accuracy_low as wilson_low, t.accuracy_high as wilson_high, t.n, t.n_correct,
          t.n_clusters as questions, t.n_several_tokens as targets_of_several_tokens, t.run_id
        from task_accuracy as t join runs as r using (run_id)
        where coalesce(r.study, $study) = $study
        qualify row_number() over (partition by t.subject, t.stratum, t.prompt_form order by r.finished desc, t.run_id) = 1
        order by t.prompt_form = 'all', t.prompt_form, t.subject""",
        study=study,
    )
    if rows.is_empty():
        return []
    names = rows["series"].unique(maintain_order=True).to_list()
    every = rows.filter(label="all").rows(named=True)
    failed = [row["series"] for row in every if row["rate"] < LEAST_ACCURACY]
    facts = (
        *(f"{row['series']}: {row['n_correct']} of {sample(row['n'], row['questions'])}; bars: 95% interval by question, no seed" for row in every),
        *([f"{', '.join(failed)}: fails the task, so its circuits explain nothing"] if failed else []),
    )
    figure = charts.rates(rows.drop("run_id"), "prompts whose next token is the target's first", names)
    height = LINE * rows["label"].n_unique() * max(1, len(names) // 2)
    return [Drawing("task accuracy", "Does the model do the task?", facts, height, figure, frozenset(rows["run_id"]))]
