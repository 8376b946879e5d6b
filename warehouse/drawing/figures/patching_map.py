"""Which activations carry the prediction across: what patching them from a donor restores, by layer and site."""

import polars as pl

from personascope.warehouse.asking.source import Source
from personascope.warehouse.drawing import maps
from personascope.warehouse.drawing.charts import Drawing
from personascope.warehouse.drawing.circuit_readers import Reader, readers, sample

NEEDS = "patches from a donor: `personascope run marker-circuits`"
SHOWS = ("patch_effects",)
SIZES = (pl.col("value").abs().max(),)
LINE = 26
VALUES = {
    "restored_pooled_log_prob": "share of the log-probability restored",
    "log_prob_change": "change of the log-probability, nats",
    "kl_removed": "share of the KL removed",
    "restored_pooled": "share of the raw logit restored",
    "logit_change": "change of the raw logit",
}


def draw(lake: Source, study: str) -> list[Drawing]:
    """One map per run of patches."""
    found = (
        patches(lake, reader, run, "restored_pooled_log_prob", f"patching {reader.name} {run}") for reader in readers(lake, study) for run in reader.patch_runs
    )
    return [each for each in found if each is not None]


def patches(lake: Source, reader: Reader, run: str, value: str, name: str) -> Drawing | None:
    """One figure of `patch_effects` by layer and site, whole sites only; None where the run has none."""
    rows = lake.select(
        f"""select layer, site, {value} as value, log_prob_change, log_prob_change_low, log_prob_change_high, restored, restored_low, restored_high,
          logit_change, logit_change_low, logit_change_high, base_prob, prob, donor_prob, kl, base_kl, n, n_clusters as questions, donor, direction
        from patch_effects
        where run_id = $run and stratum = $stratum and prompt_form = 'all' and head is null
        order by layer, site""",
        run=run,
        stratum=reader.stratum,
    )
    if rows.is_empty():
        return None
    first = rows.row(0, named=True)
    facts = (
        f"donor {first['donor']}, patched into {first['direction']}, one layer and site at a time",
        f"mean over {sample(max(rows['n']), max(rows['questions']), reader.what)}",
        f"probability of the target: {first['base_prob']:.3f} without a patch, {first['donor_prob']:.3f} in the donor",
        "hover for 95% t intervals over questions, each place alone; no random draw, so no seed",
    )
    figure = maps.heat_map(rows.drop("donor", "direction"), "site", "layer", "value", ("site", "layer, counted from 0", VALUES[value]))
    title = f"What activations of {first['donor']} do in {reader.checkpoint}"
    return Drawing(name, title, facts, max(180, min(LINE * rows["layer"].n_unique(), 640)), figure, frozenset({run}))
