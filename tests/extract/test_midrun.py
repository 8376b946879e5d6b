"""The mid-run gate: planted differences give the signal to noise of the definition, and three layers in a row are needed."""

import numpy as np
import polars as pl
import pytest
from scipy import stats

from personascope.extract.extractors.midrun import EXAMPLES, LAYERS, SNR, Gate, gate
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.store.lake import Lake

MEANS = np.array([0.05, 0.0, -0.08, 0.06, 0.04])


def planted(n: int, sd: float):
    """Readings of n examples, two heads and one position per stratum more than the gate looks at; returns them with the deltas [n, layers]."""
    noise = np.random.default_rng(3).normal(0, 1, (n, len(MEANS)))
    deltas = MEANS + sd * noise
    readings, positions = [], []
    for example in range(n):
        key = {"example_id": f"e{example:02d}", "sample_ix": 0}
        for stratum, position in (("marker", 20), ("C1", 9), ("C1", 11), ("C3", 11), ("t-1", 19)):
            positions.append(key | {"stratum": stratum, "position": position})
        for position, gain in ((20, deltas[example]), (9, -0.1 * np.ones(len(MEANS))), (11, 0.1 * np.ones(len(MEANS))), (19, 9 * np.ones(len(MEANS)))):
            for layer in range(len(MEANS)):
                for head, share in enumerate((0.5, 1.5)):
                    readings.append(key | {"position": position, "layer": layer, "head": head, "system": 0.3 + share * gain[layer]})
    return pl.DataFrame(readings), pl.DataFrame(positions), deltas


def test_signal_to_noise_is_that_of_the_definition():
    readings, positions, deltas = planted(12, 0.03)
    found = gate(readings, positions)
    assert found.n == 12
    assert found.snr == pytest.approx(np.abs(deltas.mean(0)) / stats.sem(deltas), rel=1e-4)
    assert found.windows == [2] and found.passed, "a negative effect counts as well"


def test_without_spread_or_with_one_example_there_is_no_ratio():
    for n, sd in ((1, 0.03), (5, 0.0)):
        readings, positions, _ = planted(n, sd)
        found = gate(readings, positions)
        assert (found.n, found.snr, found.passed) == (n, [None] * len(MEANS), False)
        assert "no layer varies" in found.sentence()


@pytest.mark.parametrize(
    ("snr", "windows"),
    [
        ([2.0, 2.0, 2.0, 1.9], [0]),
        ([2.0, 1.99, 5.0, 5.0], []),
        ([9.0, 9.0, None, 9.0, 9.0], []),
        ([3.0] * 6, [0, 1, 2, 3]),
        ([3.0, 3.0], []),
    ],
)
def test_three_consecutive_layers_are_needed(snr, windows):
    found = Gate(50, snr)
    assert (found.windows, found.passed) == (windows, bool(windows))
    assert ("NOT passed" in found.sentence()) == (not windows) and "50 examples" in found.sentence()


def test_the_numbers_are_those_of_the_view(tmp_path):
    rows = Warehouse(Lake.open(tmp_path)).select("select name, value from thresholds where starts_with(name, 'midrun_')")
    assert dict(rows.rows()) == {"midrun_examples": EXAMPLES, "midrun_snr": SNR, "midrun_layers": LAYERS}
