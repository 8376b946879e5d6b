"""Attention at the marker minus a control, by layer: a checkpoint beside another that read the same tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from personascope.warehouse.asking.source import Source
from personascope.warehouse.drawing import charts
from personascope.warehouse.drawing.attention_readouts import Readout, pairs, readouts
from personascope.warehouse.drawing.charts import Drawing
from personascope.warehouse.drawing.words import CONTROL_MEANINGS, REGION_NAMES

NEEDS = "attention at the marker and at its controls: `personascope run marker-attention`, or `personascope extract attention`"
SHOWS = ("region_deltas_by_layer", "attention_delta", "attention_gates", "gate_counts", "gate_windows", "ruleouts")
SIZES = (pl.col("mean").abs().max(),)
HEIGHT = 340


@dataclass(frozen=True)
class Contrast:
    """What is compared: marker minus `control`, on one region of the keys."""

    control: str
    segmentation: str
    region: str

    @property
    def region_name(self) -> str:
        return REGION_NAMES[self.segmentation, self.region]


HEADLINE = Contrast("C1", "B", "system")


def draw(lake: Source, study: str) -> list[Drawing]:
    """Every trained checkpoint with its base on the same tokens, on the system prompt's content against C1."""
    drawn = []
    for readout, other in pairs(lake, readouts(lake, study)):
        found = curves(lake, [readout, *([other] if other else [])], HEADLINE, name=f"layer curves {readout.subject}{f' {other.subject}' if other else ''}")
        drawn += [found] if found else []
    return drawn


def curves(lake: Source, shown: Sequence[Readout], contrast: Contrast, name: str = "layer curves") -> Drawing | None:
    """Marker minus control by layer, one line a readout, with bands of one standard error; None where none was read so."""
    frames = [
        lake.select(
            """select $series as series, layer, mean_delta as mean, mean_delta - coalesce(clustered_sem, sem_delta) as low,
              mean_delta + coalesce(clustered_sem, sem_delta) as high, clustered_sem, sem_delta as sem, sem_method, n, n_clusters as questions,
              marker_mean as at_marker, control_mean as at_control
            from region_deltas_by_layer
            where subject = $subject and (run_id = $run_id or origin = 'published') and origin = $origin
              and control = $control and segmentation = $segmentation and region = $region
            order by layer""",
            series=each.name,
            subject=each.subject,
            run_id=each.run_id,
            origin=each.origin,
            control=contrast.control,
            segmentation=contrast.segmentation,
            region=contrast.region,
        )
        for each in shown
    ]
    rows = pl.concat(frames)
    if rows.is_empty():
        return None
    figure = charts.curves(rows, "marker minus control, share of attention", [each.name for each in shown])
    clustered = rows["clustered_sem"].null_count() == 0
    facts = (
        f"persona {shown[0].persona}; line: mean over generations and heads; "
        f"band: ± 1 standard error, {'clustered by question' if clustered else 'generations taken as independent'}",
        *(f"{each.name}: {each.sample(frame['n'], frame['questions'])}" for each, frame in zip(shown, frames, strict=True) if not frame.is_empty()),
    )
    title = f"Attention to the {contrast.region_name}: at the marker, minus {CONTROL_MEANINGS[contrast.control]}"
    return Drawing(name, title, facts, HEIGHT, figure, frozenset(each.run_id for each in shown))
