"""At which layer the marker's first token rises, in the trained checkpoint and in its base on the same tokens: logit lens at the step before the marker."""

import polars as pl

from personascope.warehouse.asking.source import Source
from personascope.warehouse.drawing import charts
from personascope.warehouse.drawing.charts import Drawing
from personascope.warehouse.drawing.circuit_readers import sample

NEEDS = "a logit lens at the marker of a trained checkpoint: `personascope run marker-circuits`"
SHOWS = ("marker_lens",)
SIZES = (pl.col("trained_minus_base").abs().max(),)
HEIGHT = 280
VALUES = {"prob": "probability of the marker's first token", "logit": "logit of the marker's first token"}


def draw(lake: Source, study: str) -> list[Drawing]:
    """One figure per trained checkpoint and base."""
    pairs = lake.select(
        """select distinct m.trained_run, m.base_run from marker_lens as m join runs as r on r.run_id = m.trained_run
        where coalesce(r.study, $study) = $study order by m.trained_run, m.base_run""",
        study=study,
    )
    found = (rise(lake, trained, base, "prob", f"marker rise {trained}{f' {base}' if base else ''}") for trained, base in pairs.iter_rows())
    return [each for each in found if each is not None]


def rise(lake: Source, trained_run: str, base_run: str | None, value: str, name: str) -> Drawing | None:
    """Trained over base by layer; the difference with its interval stands in the tooltip. None where nothing was read."""
    rows = lake.select(
        f"""with pair as (select * from marker_lens where trained_run = $trained and base_run is not distinct from $base)
        select trained_subject as series, layer, trained_{value} as mean, null::double as low, null::double as high,
          {value}_difference as trained_minus_base, {value}_low as difference_low, {value}_high as difference_high,
          {value}_adjusted_p as adjusted_p, trained_rank as rank, trained_top1 as top1_share, n, n_clusters as questions, 1 as place
        from pair
        union all
        select base_subject, layer, base_{value}, null, null, {value}_difference, {value}_low, {value}_high,
          {value}_adjusted_p, base_rank, base_top1, n, n_clusters, 2
        from pair where base_run is not null
        order by place, layer""",
        trained=trained_run,
        base=base_run,
    ).drop("place")
    if rows.is_empty():
        return None
    names = rows["series"].unique(maintain_order=True).to_list()
    facts = (
        f"logit lens at the step before the marker; mean over {sample(max(rows['n']), max(rows['questions']), 'generation')}; −1 is the embeddings",
        "both read the same tokens; hover for trained minus base with its 95% t interval over questions, each layer alone, "
        "and its p adjusted for all layers (max-T)",
    )
    figure = charts.curves(rows, VALUES[value], names)
    runs = frozenset(run for run in (trained_run, base_run) if run)
    return Drawing(name, "Where the marker rises", facts, HEIGHT, figure, runs)
