"""What instruction tuning changed in attention on prompts about the model itself, by layer: instruct minus base, a line a family."""

import polars as pl

from personascope.warehouse.asking.source import Source
from personascope.warehouse.drawing import charts
from personascope.warehouse.drawing.charts import Drawing
from personascope.warehouse.drawing.words import NOTHING_KNOWN, count, count_range, movement

NEEDS = "Role Focus Coefficients of a base and an instruct variant by layer: `personascope ingest published PATH` brings published ones"
SHOWS = ("rfc_diff", "rfc_summary", "rfc_correlation", "rfc_layer")
SIZES = (pl.col("mean").abs().max(),)
HEIGHT = 360
MEASURES = {"rfc": "RFC", "rsi": "RSI"}
# Columns of rfc_diff for a measure: the difference and its interval.
COLUMNS = {"rfc": ("rfc_diff", "ci_low", "ci_high", "excludes_zero"), "rsi": ("rsi_diff", "rsi_ci_low", "rsi_ci_high", "rsi_excludes_zero")}
# Where prompts were read here, the interval over prompts takes the place of the one over heads.
RESAMPLED = {"rfc": ("rfc_diff", "resampled_low", "resampled_high", "resampled_excludes_zero")}
OVER_HEADS = "band: 95% t interval over heads, heads taken as independent, no correction over layers; full point: it leaves out 0; no random draw, so no seed"
OVER_PROMPTS = "band: 95% interval, prompts drawn again within category, R = 2000, seed 42, no correction over layers; full point: it leaves out 0"
SERIES = "case when count(*) over (partition by family) = 1 then family else family || ' · ' || instruct_run end"


def draw(lake: Source, study: str) -> list[Drawing]:
    """RFC and RSI of each origin; layers by relative depth where the families are not equally deep."""
    found = lake.select(
        """select d.origin, count(distinct d.n_layers) > 1 as unequal from rfc_diff as d left join runs as r on r.run_id = d.instruct_run
        where coalesce(r.study, $study) = $study group by d.origin order by d.origin""",
        study=study,
    ).rows()
    drawn = (differences(lake, origin, measure, unequal, f"{measure} differences {origin}", study) for origin, unequal in found for measure in MEASURES)
    return [each for each in drawn if each is not None]


def differences(lake: Source, origin: str, measure: str, by_depth: bool, name: str, study: str | None = None) -> Drawing | None:
    """Instruct minus base by layer with intervals, full points where the interval leaves out 0; None where no layers are in the lake.

    `by_depth` lays the first layer at 0 and the last at 1; `study` leaves out the runs of other studies.
    """
    columns = RESAMPLED if origin == "extracted" and measure in RESAMPLED else COLUMNS
    mean, low, high, excludes = columns[measure]
    rows = lake.select(
        f"""with families as (
          select base_run, instruct_run, family, {SERIES} as series
          from (
            select distinct d.base_run, d.instruct_run, d.family from rfc_diff as d left join runs as r on r.run_id = d.instruct_run
            where d.origin = $origin and ($study is null or coalesce(r.study, $study) = $study)
          )
        )
        select f.series, d.layer, d.layer / greatest(d.n_layers - 1, 1) as depth, d.{mean} as mean, d.{low} as low, d.{high} as high,
          coalesce(d.{excludes}, false) as interval_excludes_0, d.{measure}_base as base, d.{measure}_instruct as instruct,
          d.n_heads, d.n_heads_model, d.n_layers, d.movement, d.margin,
          d.base_run, d.instruct_run
        from rfc_diff as d join families as f using (base_run, instruct_run, family)
        where d.origin = $origin
        order by f.series, d.layer""",
        origin=origin,
        study=study,
    )
    if rows.is_empty():
        return None
    names = rows["series"].unique(maintain_order=True).to_list()
    facts = (
        OVER_PROMPTS if columns is RESAMPLED else OVER_HEADS,
        *(_heads(each, rows.filter(series=each)) for each in names),
        *(_within(each, rows.filter(series=each)) for each in names if columns is RESAMPLED),
    )
    x, x_title = ("depth", "relative depth: 0 the first layer, 1 the last") if by_depth else ("layer", "layer, counted from 0")
    runs = frozenset([*rows["base_run"], *rows["instruct_run"]])
    figure = charts.curves(rows.drop("base_run", "instruct_run"), f"{MEASURES[measure]}, instruct minus base", names, x, x_title, full="interval_excludes_0")
    return Drawing(name, f"{MEASURES[measure]}: what instruction tuning changed, by layer", facts, HEIGHT, figure, runs)


def _within(name: str, rows: pl.DataFrame) -> str:
    """In how many layers the interval over prompts shows that nothing beyond the margin changed."""
    margin, verdicts = rows["margin"][0], rows["movement"].to_list()
    words = ", ".join(f"{movement(verdict, margin)} in {verdicts.count(verdict)}" for verdict in ("moved", "equivalent", "cannot tell") if verdict in verdicts)
    return f"{name}: {words} of {count(rows.height, 'layer')}, each layer alone"


def _heads(name: str, rows: pl.DataFrame) -> str:
    """How many layers and heads stand behind a line, and how many of its intervals leave out 0."""
    model = min((number for number in rows["n_heads_model"] if number is not None), default=None)
    whole = f"of the model's {model} a layer" if model is not None else f"a layer, the model's number {NOTHING_KNOWN}"
    layers = count(rows["layer"].n_unique(), "layer")
    return f"{name}: {layers}, {count_range(rows['n_heads'], 'head')} read {whole}; the interval leaves out 0 in {rows['interval_excludes_0'].sum()} layers"
