"""Intervals of cosines between personas: plain recomputation, places that have none, and how often the truth is covered."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.store.lake import Lake

planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted.py"))))
PERSONAS = ["villain", "nurse", "pirate", "poet"]


def row(persona: int, question: int, layer: int, vector: np.ndarray, sample: int = 0) -> dict:
    name = PERSONAS[persona]
    return {"persona": name, "question_id": f"q{question}", "example_id": f"{name}/q{question}", "sample_ix": sample, "layer": layer} | {
        "stratum": "last",
        "site": "resid_post",
        "n_positions": 1,
        "input_hash": f"{name}{question}{sample}",
        "vector": vector.astype(np.float32).tolist(),
    }


def built(root: Path, rows: list[dict]) -> Warehouse:
    lake = Lake.open(root)
    planted.write(lake, planted.spec("activations", checkpoint="base", subject="base"), activations=rows, checkpoints=[planted.checkpoint("base")])
    return Warehouse(lake)


def plain(samples: dict[tuple[int, int], list[np.ndarray]], kept: list[int], n_personas: int, centred: bool) -> np.ndarray:
    """Cosines of means [personas, personas] from products of single vectors of different questions."""
    products = np.zeros((n_personas, n_personas))
    for a in range(n_personas):
        for b in range(n_personas):
            pairs = [float(x @ y) for i in kept for j in kept if i != j for x in samples[a, i] for y in samples[b, j]]
            products[a, b] = np.mean(pairs)
    if centred:
        products = products - products.mean(0) - products.mean(1)[:, None] + products.mean()
    lengths = np.sqrt(np.diag(products))
    return products / np.outer(lengths, lengths)


def test_intervals_are_the_jackknife_over_questions_however_often_each_was_sampled(tmp_path):
    drawn = np.random.default_rng(3)
    own, shared = drawn.normal(size=(4, 12)), 5 * drawn.normal(size=12)
    times = drawn.integers(1, 4, (4, 6))
    samples = {
        (a, q): [(shared + own[a] + 0.4 * drawn.normal(size=12)).astype(np.float32).astype(float) for _ in range(times[a, q])]
        for a in range(4)
        for q in range(6)
    }
    warehouse = built(tmp_path, [row(a, q, 1, vector, sample) for (a, q), several in samples.items() for sample, vector in enumerate(several)])
    rows = warehouse.select("from persona_cosine_intervals")
    assert rows.height == 12 and set(rows["n_questions"]) == {6} and set(rows["n_personas"]) == {4}
    for suffix, centred in (("", False), ("_centered", True)):
        whole = plain(samples, [*range(6)], 4, centred)
        without = np.array([plain(samples, [q for q in range(6) if q != left], 4, centred) for left in range(6)])
        reach = np.sqrt(5 / 6 * ((without - without.mean(0)) ** 2).sum(0)) * stats.t.ppf(0.975, 5)
        for found in rows.iter_rows(named=True):
            pair = PERSONAS.index(found["persona"]), PERSONAS.index(found["other_persona"])
            assert found[f"corrected{suffix}"] == pytest.approx(whole[pair], abs=1e-9)
            assert found[f"low{suffix}"] == pytest.approx(max(-1, whole[pair] - reach[pair]), abs=1e-8)
            assert found[f"high{suffix}"] == pytest.approx(min(1, whole[pair] + reach[pair]), abs=1e-8)


def test_places_that_cannot_have_an_interval_have_none(tmp_path):
    """Layer 0: questions do not differ; 1: two questions; 2: personas were asked others; 3: two personas, whose centred cosine is -1; 4: one input, rounded."""
    drawn = np.random.default_rng(4)
    means = drawn.normal(size=(3, 8))
    rows = [row(a, q, 0, means[a]) for a in range(3) for q in range(4)]
    rows += [row(a, q, 1, means[a] + 0.1 * drawn.normal(size=8)) for a in range(3) for q in range(2)]
    rows += [row(a, q + a, 2, means[a] + 0.1 * drawn.normal(size=8)) for a in range(3) for q in range(4)]
    rows += [row(a, q, 3, means[a] + 0.1 * drawn.normal(size=8)) for a in range(2) for q in range(4)]
    rows += [row(a, q, 4, means[a] + 1e-6 * drawn.normal(size=8)) | {"input_hash": PERSONAS[a]} for a in range(3) for q in range(4)]
    found = built(tmp_path, rows).select("select layer, corrected, low, high, low_centered, high_centered from persona_cosine_intervals order by layer")
    still = found.filter(layer=0)
    assert still["corrected"].null_count() == 0 and still["low"].null_count() == still["high_centered"].null_count() == still.height == 6
    assert set(found["layer"]) == {0, 3}
    two = found.filter(layer=3)
    assert two["low"].null_count() == 0 and two["low_centered"].null_count() == two.height == 2


@pytest.mark.slow(8)
@pytest.mark.parametrize(("n_questions", "noise", "shared"), [(20, 0.5, 0.5), (20, 1.5, 0.0), (10, 1.0, 0.5)])
def test_the_cosine_of_the_true_means_is_covered(n_questions, noise, shared, tmp_path):
    """A layer is a data set. Personas share a large mean, as activations do; the plain cosine lies below the truth where questions differ much."""
    drawn = np.random.default_rng(n_questions)
    datasets, size = 300, 24
    means = drawn.normal(size=(4, size))
    means[1] = 0.8 * means[0] + 0.6 * means[1]
    means += drawn.normal(size=size)
    common, own = drawn.normal(size=(datasets, 1, n_questions, size)), drawn.normal(size=(datasets, 4, n_questions, size))
    vectors = means[:, None] + noise * (np.sqrt(shared) * common + np.sqrt(1 - shared) * own)
    rows = [row(a, q, layer, vectors[layer, a, q]) for layer in range(datasets) for a in range(4) for q in range(n_questions)]
    found = built(tmp_path, rows).select("from persona_cosine_intervals where persona = 'villain' and other_persona = 'nurse'")
    least = 0.93 - 2 * np.sqrt(0.05 * 0.95 / datasets)
    for suffix, truth in (("", means), ("_centered", means - means.mean(0))):
        cosine = truth[0] @ truth[1] / np.linalg.norm(truth[0]) / np.linalg.norm(truth[1])
        told = found.drop_nulls(f"low{suffix}")
        assert told.height > 0.95 * datasets
        covered = ((told[f"low{suffix}"] <= cosine) & (told[f"high{suffix}"] >= cosine)).mean()
        assert least <= covered
