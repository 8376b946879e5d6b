"""Do direct attribution and ablation tell the same story? Head against head, and their rank correlation by layer."""

import polars as pl

from personascope.warehouse.asking.source import Source
from personascope.warehouse.drawing import charts
from personascope.warehouse.drawing.charts import Drawing
from personascope.warehouse.drawing.circuit_readers import Reader, readers, sample
from personascope.warehouse.drawing.words import NOTHING_KNOWN, signed

NEEDS = "direct attributions and ablations of the same heads: `personascope run echo`"
HEIGHT, RANKS_HEIGHT, LABELLED = 360, 240, 6
METHODS = {"zero": "zero ablation", "mean": "mean ablation", "resample": "resample ablation"}


def draw(lake: Source, study: str) -> list[Drawing]:
    """For every reader with both: all heads against zero ablation, and the rank correlation by layer."""
    found = []
    for reader in readers(lake, study):
        if reader.attribution_run and reader.ablation_run:
            found += [heads(lake, reader, "zero", "all", None, f"attribution against ablation {reader.name}")]
            found += [agreement(lake, reader, "direct", "zero", "all", f"rank agreement {reader.name}")]
    return [each for each in found if each is not None]


def heads(lake: Source, reader: Reader, method: str, form: str, layer: int | None, name: str) -> Drawing | None:
    """What every head adds directly against what the target's logit loses without it, of one layer or of all; None where either is missing."""
    rows = lake.select(
        f"""select layer, head, dla as direct, -{method} as lost_without_it, kl_{method} as kl, flips_{method} as flips, bos_fraction, n,
          n_clusters as questions,
          case
            when least(rank() over (order by abs({method}) desc nulls last), rank() over (order by abs(dla) desc nulls last)) <= {LABELLED}
              then layer || '.' || head
            else ''
          end as label
        from head_effects
        where attribution_run = $attribution and ablation_run = $ablation and stratum = $stratum and prompt_form = $form
          and ($layer is null or layer = $layer) and dla is not null and {method} is not null
        order by layer, head""",
        attribution=reader.attribution_run,
        ablation=reader.ablation_run,
        stratum=reader.stratum,
        form=form,
        layer=layer,
    )
    if rows.is_empty():
        return None
    where = "all layers" if layer is None else f"layer {layer}"
    facts = (
        f"{reader.subject}; {where}, {rows.height} heads; mean over {sample(max(rows['n']), max(rows['questions']), reader.what)}",
        f"agreement would put heads on a rising line; the {LABELLED} largest by each are named layer.head; no test, no seed",
    )
    titles = ("direct contribution to the target's logit", f"logit lost by {METHODS[method]}")
    figure = charts.scatter(rows, "direct", "lost_without_it", titles, "label", "layer" if layer is None else None)
    return Drawing(name, f"Direct attribution against {METHODS[method]}", facts, HEIGHT, figure, reader.runs)


def agreement(lake: Source, reader: Reader, measure: str, method: str, form: str, name: str) -> Drawing | None:
    """Rank correlation of the two measures over the heads of each layer with intervals over questions; None where none can be made."""
    rows = lake.select(
        """select layer, spearman as mean, spearman_low as low, spearman_high as high, prompt_spearman as at_single_prompts, n_heads as heads, n,
          n_clusters as questions, n_shared_top3 as shared_in_first_three, resamples, seed, interval_missing
        from dla_vs_ablation
        where attribution_run is not distinct from $attribution and ablation_run = $ablation and stratum = $stratum and prompt_form = $form
          and measure_a = $measure and measure_b = $method and spearman is not null
        order by layer nulls last""",
        attribution=reader.attribution_run,
        ablation=reader.ablation_run,
        stratum=reader.stratum,
        form=form,
        measure=measure,
        method=method,
    )
    layers = rows.filter(rows["layer"].is_not_null())
    if layers.is_empty():
        return None
    facts = (
        f"{reader.subject}; Spearman over the heads of a layer, 1: the same order",
        f"worth of a head: mean over {sample(max(rows['n']), max(rows['questions']), reader.what)}",
        _interval(rows),
        *_overall(rows),
    )
    figure = charts.intervals(layers.drop("interval_missing"), "rank correlation")
    return Drawing(name, f"Do {_words(measure)} and {METHODS[method]} rank heads alike?", facts, RANKS_HEIGHT, figure, reader.runs)


def _words(measure: str) -> str:
    return {"direct": "direct attribution", "direct_margin": "attribution to the margin", "sieve": "attribution patching"}[measure]


def _interval(rows: pl.DataFrame) -> str:
    missing = rows["interval_missing"].drop_nulls().unique().sort().to_list()
    if rows["low"].null_count() == rows.height:
        return f"no interval: {', '.join(missing)}"
    resamples, seed = (max(rows[name].drop_nulls(), default=NOTHING_KNOWN) for name in ("resamples", "seed"))
    return f"bars: 95% percentile interval, questions drawn {resamples} times with seed {seed}, each layer alone"


def _overall(rows: pl.DataFrame) -> list[str]:
    """The correlation over all heads of the model, in words."""
    whole = rows.filter(rows["layer"].is_null()).rows(named=True)
    return [
        f"over all {row['heads']} heads: {signed(row['mean'], 2)}"
        + (f" [{signed(row['low'], 2)}, {signed(row['high'], 2)}]" if row["low"] is not None else "")
        + f"; {row['shared_in_first_three']} of the first three shared"
        for row in whole
    ]
