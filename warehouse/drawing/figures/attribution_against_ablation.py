"""Do direct attribution and ablation tell the same story? Head against head, and their rank correlation by layer."""

from typing import NamedTuple

import polars as pl

from personascope.warehouse.asking.source import Source
from personascope.warehouse.drawing import charts
from personascope.warehouse.drawing.charts import Drawing
from personascope.warehouse.drawing.circuit_readers import Reader, readers, sample
from personascope.warehouse.drawing.words import NOTHING_KNOWN, signed

NEEDS = "direct attributions and ablations of the same heads: `personascope run echo`"
SHOWS = ("dla_vs_ablation", "head_effects", "attributions", "ablations")
SIZES = (pl.col("mean").abs().max(), pl.col("lost_without_it").abs().max())
HEIGHT, RANKS_HEIGHT, LABELLED = 360, 240, 6
METHODS = {"zero": "zero ablation", "mean": "mean ablation", "resample": "resample ablation"}
MARGIN, LOGIT = "the target's logit minus the runner-up's", "the target's raw logit"
MEASURES = {"direct": "direct attribution", "direct_margin": "direct attribution", "sieve": "attribution patching"}
WORTHS = {"direct": f"direct to {LOGIT}", "direct_margin": f"direct to {MARGIN}", "sieve": f"estimate of {LOGIT} from one backward pass"}


class Effect(NamedTuple):
    """What an ablation takes from the target, in words and as the ending of its measures, and the measure of attribution that stands against it."""

    words: str
    suffix: str
    lost: str
    direct: str
    dla: str


EFFECTS = {
    "log_prob": Effect("log-probability", "", "log-probability (nats)", "direct_margin", "dla_margin"),
    "margin": Effect("margin to the runner-up", "_margin", MARGIN, "direct_margin", "dla_margin"),
    "logit": Effect("raw logit", "_logit", f"{LOGIT}, shifts of all logits and all", "direct", "dla"),
}


def draw(lake: Source, study: str) -> list[Drawing]:
    """For every reader with both: all heads against zero ablation, and the rank correlation by layer."""
    found = []
    for reader in readers(lake, study):
        if reader.attribution_run and reader.ablation_run:
            found += [heads(lake, reader, "zero", "log_prob", "all", None, f"attribution against ablation {reader.name}")]
            found += [agreement(lake, reader, EFFECTS["log_prob"].direct, "zero", "log_prob", "all", f"rank agreement {reader.name}")]
    return [each for each in found if each is not None]


def heads(lake: Source, reader: Reader, method: str, effect: str, form: str, layer: int | None, name: str) -> Drawing | None:
    """What every head adds directly against what the target loses without it by a measure of EFFECTS, of one layer or of all; None where either is missing."""
    read = EFFECTS[effect]
    lost, added = f"{method}{read.suffix}", read.dla
    others = ", ".join(f"-{method}{each.suffix} as lost_{name}" for name, each in EFFECTS.items() if name != effect)
    rows = lake.select(
        f"""select layer, head, {added} as direct, -{lost} as lost_without_it, {others}, kl_{method} as kl, flips_{method} as flips, bos_fraction, n,
          n_clusters as questions,
          case
            when least(rank() over (order by abs({lost}) desc nulls last), rank() over (order by abs({added}) desc nulls last)) <= {LABELLED}
              then layer || '.' || head
            else ''
          end as label
        from head_effects
        where attribution_run = $attribution and ablation_run = $ablation and stratum = $stratum and prompt_form = $form
          and ($layer is null or layer = $layer) and {added} is not null and {lost} is not null
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
    titles = (f"direct contribution to {MARGIN if read.dla == 'dla_margin' else LOGIT}", f"lost by {METHODS[method]}: {read.lost}")
    figure = charts.scatter(rows, "direct", "lost_without_it", titles, "label", "layer" if layer is None else None)
    return Drawing(name, f"Direct attribution against {METHODS[method]}", facts, HEIGHT, figure, reader.runs)


def agreement(lake: Source, reader: Reader, measure: str, method: str, effect: str, form: str, name: str) -> Drawing | None:
    """Rank correlation of a measure with what an ablation takes, by a measure of EFFECTS, over the heads of each layer; None where none can be made."""
    rows = lake.select(
        """select layer, case when corrected_missing is null then corrected end as mean, corrected_low as low, corrected_high as high, reliability_a,
          reliability_b, spearman as uncorrected, prompt_spearman as at_single_prompts, n_heads as heads, n, n_clusters as questions,
          n_shared_top3 as shared_in_first_three, seed, corrected_missing
        from dla_vs_ablation
        where attribution_run is not distinct from $attribution and ablation_run = $ablation and stratum = $stratum and prompt_form = $form
          and measure_a = $measure and measure_b = $method and spearman is not null
        order by layer nulls last""",
        attribution=reader.attribution_run,
        ablation=reader.ablation_run,
        stratum=reader.stratum,
        form=form,
        measure=measure,
        method=f"{method}{EFFECTS[effect].suffix}",
    )
    layers = rows.filter(rows["layer"].is_not_null())
    if layers.is_empty():
        return None
    facts = (
        f"{reader.subject}; Spearman over the heads of a layer, corrected for the noise of both measures, 1: the same order",
        f"worth of a head: {WORTHS[measure]}, against the {EFFECTS[effect].words} lost",
        f"mean over {sample(max(rows['n']), max(rows['questions']), reader.what)}",
        _interval(rows),
        *_overall(rows),
    )
    drawn = layers.filter(layers["mean"].is_not_null())
    if drawn.is_empty():
        drawn = layers.with_columns(mean=layers["uncorrected"])
    figure = charts.intervals(drawn.drop("corrected_missing"), "rank correlation")
    return Drawing(name, f"Do {MEASURES[measure]} and {METHODS[method]} rank heads alike?", facts, RANKS_HEIGHT, figure, reader.runs)


def _interval(rows: pl.DataFrame) -> str:
    missing = rows.filter(rows["corrected_missing"].is_not_null()).group_by("corrected_missing").len("rows").sort("corrected_missing")
    absent = "; ".join(f"{words} in {number} of {rows.height} places" for words, number in missing.rows())
    if rows["low"].null_count() == rows.height:
        return f"as it stands, pulled towards 0 by noise and without an interval: {absent}"
    seed = max(rows["seed"].drop_nulls(), default=NOTHING_KNOWN)
    made = f"bars: 95% interval, jackknife over questions; corrected by halves of the questions (seed {seed}), each layer alone"
    return f"{made}; not drawn: {absent}" if absent else made


def _overall(rows: pl.DataFrame) -> list[str]:
    """The correlation over all heads of the model, in words."""
    whole = rows.filter(rows["layer"].is_null()).rows(named=True)
    return [
        f"over all {row['heads']} heads: "
        + (f"{signed(row['mean'], 2)} [{signed(row['low'], 2)}, {signed(row['high'], 2)}]" if row["low"] is not None else row["corrected_missing"])
        + f", uncorrected {signed(row['uncorrected'], 2)}; {row['shared_in_first_three']} of the first three shared"
        for row in whole
    ]
