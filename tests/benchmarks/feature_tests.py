"""Time and peak memory of the paired test of SAE features beside scipy's permutation_test, extrapolated from a few features; run it, no test."""

import argparse
import json
import resource
import time

import numpy as np
from scipy.stats import permutation_test

from personascope.warehouse.analyses.resampling import flip_features, shuffle_threshold


def main() -> None:
    """Print one JSON line: seconds a condition pair, and the peak memory of the process in MiB."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=50)
    parser.add_argument("--features", type=int, default=131_072)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--scipy-features", type=int, default=5)
    options = parser.parse_args()
    first, second = np.random.default_rng(0).exponential(size=(2, options.questions, options.features)).astype(np.float32)
    differences = first - second
    figures = vars(options).copy()
    start = time.perf_counter()
    flip_features(differences, options.resamples, 0)
    figures["flips_s"] = time.perf_counter() - start
    start = time.perf_counter()
    shuffle_threshold(first, second, options.resamples, 0)
    figures["published_shuffles_s"] = time.perf_counter() - start
    figures["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    start = time.perf_counter()
    for column in differences[:, : options.scipy_features].T.astype(float):
        permutation_test((column,), _t, permutation_type="samples", n_resamples=options.resamples, vectorized=True, random_state=0)
    figures["scipy_extrapolated_s"] = (time.perf_counter() - start) / options.scipy_features * options.features
    print(json.dumps(figures))


def _t(values: np.ndarray, axis: int) -> np.ndarray:
    """Studentised mean along `axis`."""
    return values.mean(axis=axis) / (values.std(axis=axis, ddof=1) / np.sqrt(values.shape[axis]))


if __name__ == "__main__":
    main()
