"""The mid-run gate of the attention readout: signal to noise per layer over the first examples, so that a readout with nothing to see is known early."""

from dataclasses import dataclass
from math import sqrt
from typing import Any

import polars as pl

EXAMPLES = 50
SNR = 2.0
LAYERS = 3
ERRORS = (
    "this gate passes 4 to 29% of readouts of 28 layers without any effect, half of them where answers to one question are alike, and misses an effect of 0.2 "
    "standard deviations in every layer in 19 to 44%"
)


@dataclass(frozen=True)
class Gate:
    """Outcome over `n` examples; `snr` per layer, None where the examples do not vary or there is only one."""

    n: int
    snr: list[float | None]

    @property
    def windows(self) -> list[int]:
        """Layers that reach SNR together with the LAYERS - 1 layers above them."""
        passes = [each is not None and each >= SNR for each in self.snr]
        return [layer for layer in range(len(passes) - LAYERS + 1) if all(passes[layer : layer + LAYERS])]

    @property
    def passed(self) -> bool:
        return bool(self.windows)

    def sentence(self) -> str:
        """The outcome with its numbers, for people."""
        known = [(value, layer) for layer, value in enumerate(self.snr) if value is not None]
        best = "no layer varies over them" if not known else "the largest is {:.1f} at layer {}".format(*max(known))
        reach = f"{sum(value >= SNR for value, _ in known)} of {len(self.snr)} layers reach a signal to noise of {SNR:g}"
        if self.passed:
            return f"mid-run gate passed over the first {self.n} examples: {reach}, and {len(self.windows)} of them begin {LAYERS} in a row; {best}"
        return f"mid-run gate NOT passed over the first {self.n} examples: {reach}, never {LAYERS} in a row; {best} ({ERRORS})"

    def summary(self) -> dict[str, Any]:
        """The figures of the run's summary."""
        return {"midrun": {"examples": self.n, "passed": self.passed, "passing_windows": len(self.windows), "snr": self.snr}}


def gate(readings: pl.DataFrame, positions: pl.DataFrame) -> Gate:
    """The gate over the examples with a marker position among `readings` (rows of table `attention`); `positions` as in the table of that name.

    Signal to noise of a layer is |mean(delta)| / (s / sqrt(n)): delta is an example's attention to the content of the system block (mean over heads) at the
    marker minus its mean over the C1 positions, s the sample standard deviation (n - 1) over the n examples. The view `midrun_gate` computes the same
    (issue 224, README of the published files) with the numbers of the view `thresholds`.
    """
    key = ["example_id", "sample_ix"]
    means = readings.group_by(*key, "position", "layer").agg(pl.col("system").cast(pl.Float64).mean().cast(pl.Float32))
    chosen = positions.filter(pl.col("stratum").is_in(["marker", "C1"])).select(*key, "position", pl.col("stratum") == "marker")
    joined = means.join(chosen, on=[*key, "position"]).with_columns(pl.col("system").cast(pl.Float64))
    at_marker = pl.col("system").filter(pl.col("stratum")).mean()
    deltas = joined.group_by(*key, "layer").agg((at_marker - pl.col("system").filter(~pl.col("stratum")).mean()).alias("delta"))
    layers = deltas.drop_nulls("delta").group_by("layer").agg(pl.len(), pl.col("delta").mean().alias("mean"), pl.col("delta").std().alias("sd")).sort("layer")
    snr = [abs(mean) / (sd / sqrt(n)) if sd else None for n, mean, sd in layers.select("len", "mean", "sd").iter_rows()]
    return Gate(max(layers["len"], default=0), snr)
