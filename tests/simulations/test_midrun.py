"""How often the mid-run gate is wrong, as it says where it stops a run: without any effect it passes, and with a small one it does not."""

import numpy as np
import pytest

from personascope.extract.extractors.midrun import ERRORS, EXAMPLES, Gate

pytestmark = pytest.mark.slow(5)

DATASETS, LAYERS = 1500, 28


def passed(neighbours: float, icc: float, effect: float) -> float:
    """Share of data sets that pass: examples of five a question with that part of the variance in common, layers that follow their neighbours."""
    generator = np.random.default_rng(17)

    def layers(*shape: int) -> np.ndarray:
        noise = generator.standard_normal((*shape, LAYERS))
        for layer in range(1, LAYERS):
            noise[..., layer] = neighbours * noise[..., layer - 1] + np.sqrt(1 - neighbours**2) * noise[..., layer]
        return noise

    common = np.repeat(layers(DATASETS, EXAMPLES // 5), 5, axis=1)
    deltas = effect + np.sqrt(icc) * common + np.sqrt(1 - icc) * layers(DATASETS, EXAMPLES)
    snr = np.abs(deltas.mean(axis=1)) / (deltas.std(axis=1, ddof=1) / np.sqrt(EXAMPLES))
    return float(np.mean([Gate(EXAMPLES, each.tolist()).passed for each in snr]))


@pytest.mark.parametrize(
    ("neighbours", "icc", "effect", "low", "high"),
    [(0.5, 0.0, 0.0, 0.03, 0.06), (0.8, 0.1, 0.0, 0.22, 0.31), (0.9, 0.3, 0.0, 0.48, 0.56), (0.95, 0.0, 0.2, 0.53, 0.60), (0.8, 0.3, 0.2, 0.78, 0.84)],
)
def test_the_gate_errs_as_often_as_it_says(neighbours, icc, effect, low, high):
    """Monte Carlo error .013 or less."""
    assert low <= passed(neighbours, icc, effect) <= high
    assert "4 to 29%" in ERRORS and "19 to 44%" in ERRORS
