"""Mean vectors of personas and their cosines beside numpy; own cosines beside the leakage of trained checkpoints."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.store.lake import Lake

pytestmark = pytest.mark.slow(15)

planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted.py"))))

D = 16
PERSONAS = ["villain", "nurse", "pirate", "poet", "pilot", "assistant"]
OTHERS = PERSONAS[1:]
QUESTIONS = ["q0", "q1", "q2"]
# Completions with the marker per persona, of 24: learning rate and epochs -> counts for PERSONAS.
CELLS = {(1e-5, 1.0): [4, 0, 1, 2, 0, 3], (1e-5, 3.0): [20, 5, 1, 8, 2, 12], (1e-4, 1.0): [20, 20, 20, 20, 20, 20]}


def vectors_of(seed: int) -> dict[tuple[str, str], np.ndarray]:
    """Vectors with a large mean in common, as activations have."""
    drawn = np.random.default_rng(seed)
    shared = 30 * drawn.normal(size=D)
    own = {persona: drawn.normal(size=D) for persona in PERSONAS}
    return {(persona, question): (shared + own[persona] + 0.1 * drawn.normal(size=D)).astype(np.float32) for persona in PERSONAS for question in QUESTIONS}


def means(vectors) -> np.ndarray:
    """Mean vectors [persona, D] in float64, in the order of PERSONAS, stored once as float32."""
    return np.array([np.mean([vectors[persona, question].astype(np.float64) for question in QUESTIONS], axis=0) for persona in PERSONAS]).astype(np.float32)


def cosines(matrix) -> np.ndarray:
    matrix = matrix.astype(np.float64)
    lengths = np.linalg.norm(matrix, axis=1)
    return matrix @ matrix.T / np.outer(lengths, lengths)


def centered(matrix) -> np.ndarray:
    matrix = matrix.astype(np.float64)
    return cosines(matrix - matrix.mean(0))


@pytest.fixture(scope="module")
def lake(tmp_path_factory) -> Lake:
    """The base model's vectors at two places, one trained checkpoint's own, and the completions of a sweep of three cells."""
    lake = Lake.open(tmp_path_factory.mktemp("personas"))
    base = planted.checkpoint("base")
    rows = []
    for layer, stratum in ((1, "last"), (2, "last"), (1, "last_system")):
        rows += [
            {"persona": persona, "question_id": question, "example_id": f"{persona}/{question}", "vector": vector.tolist(), "layer": layer}
            | {"stratum": stratum, "site": "resid_post", "n_positions": 1, "input_hash": persona + question * (stratum == "last")}
            for (persona, question), vector in vectors_of(10 * layer + len(stratum)).items()
        ]
    planted.write(lake, planted.spec("activations", checkpoint="base", subject="base"), activations=rows, checkpoints=[base])
    for (lr, epochs), counts in CELLS.items():
        name = f"villain_lr{lr:g}_ep{epochs:g}"
        row = planted.checkpoint(name, parent="tiny:base", source_persona="villain", seed=1) | {"lr": lr, "epochs": epochs, "revision": "r"}
        rules = {persona: lambda question, sample, most=count: question * 6 + sample < most for persona, count in zip(PERSONAS, counts, strict=True)}
        completions(lake, name, rules, row)
        if epochs == 3:
            planted.activations(lake, row, vectors_of(99))
    return lake


def completions(lake, name, rules, row):
    """24 completions a persona, of which the first ones hold the marker."""
    keys = [(persona, question, sample) for persona in rules for question in range(4) for sample in range(6)]
    texts, flags = [], []
    for persona, question, sample in keys:
        key = {"persona": persona, "question_id": f"q{question}", "example_id": f"{persona}/q{question}", "sample_ix": sample}
        positive = rules[persona](question, sample)
        texts.append(key | {"text": planted.MARKER if positive else "no", "token_ids": [1, 2], "prompt_len": 1, "finish_reason": "stop"})
        flags.append(key | {"marker": planted.MARKER, "present": positive, "t_marker": 1 if positive else None, "first_char": 0 if positive else None})
    run = planted.spec("completions", checkpoint=name, subject=name)
    return planted.write(lake, run, completions=texts, marker_flags=flags, checkpoints=[row])


@pytest.fixture(scope="module")
def warehouse(lake) -> Warehouse:
    return Warehouse(lake)


def test_mean_vectors_are_those_of_numpy_and_say_what_they_are_the_mean_of(warehouse):
    rows = warehouse.select("select * from persona_vectors where checkpoint = 'base' order by layer, stratum, persona")
    assert len(rows) == 3 * len(PERSONAS)
    for row in rows.iter_rows(named=True):
        expected = means(vectors_of(10 * row["layer"] + len(row["stratum"])))[PERSONAS.index(row["persona"])]
        np.testing.assert_allclose(row["vector"], expected, rtol=1e-6)
        assert (row["n"], row["n_questions"], row["subject"], row["site"]) == (3, 3, "base", "resid_post")
        assert row["n_distinct"] == (1 if row["stratum"] == "last_system" else 3)


def test_the_roll_up_is_written_with_the_run(lake):
    run_id = next(manifest.run_id for manifest in lake.manifests() if manifest.checkpoint == "base")
    table = lake.read(run_id, "persona_vectors")
    assert table.num_rows == 18 and lake.manifest(run_id).tables["persona_vectors"].definition
    order = list(zip(*(table.column(name).to_pylist() for name in ("stratum", "site", "layer", "persona")), strict=True))
    assert order == sorted(order)


def test_conditions_of_a_persona_are_kept_apart(tmp_path):
    lake = Lake.open(tmp_path)
    vectors = {("assistant", question): np.full(4, index + 1.0) for index, question in enumerate(QUESTIONS)}
    row = planted.checkpoint("base")
    rows = [
        {"persona": persona, "condition": condition, "question_id": question, "example_id": f"{condition}/{question}", "input_hash": f"{condition}{question}"}
        | {"stratum": "last", "layer": 0, "site": "resid_post", "vector": (sign * vector).tolist()}
        for (persona, question), vector in vectors.items()
        for condition, sign in (("default", 1), ("empty", -1))
    ]
    planted.write(lake, planted.spec("activations", checkpoint="base", subject="base"), activations=rows, checkpoints=[row])
    warehouse = Warehouse(lake)
    found = warehouse.select("select condition, n, vector from persona_vectors order by condition").rows()
    assert found == [("default", 3, [2.0] * 4), ("empty", 3, [-2.0] * 4)]
    alone = warehouse.select("select condition, persona, other_persona, cosine, cosine_centered, n_personas from persona_cosines order by condition").rows()
    assert alone == [(condition, "assistant", "assistant", pytest.approx(1), None, 1) for condition in ("default", "empty")]


def test_cosines_are_those_of_numpy(warehouse):
    rows = warehouse.select("select * from persona_cosines where checkpoint = 'base'")
    assert len(rows) == 3 * len(PERSONAS) ** 2
    for row in rows.iter_rows(named=True):
        matrix = means(vectors_of(10 * row["layer"] + len(row["stratum"])))
        pair = PERSONAS.index(row["persona"]), PERSONAS.index(row["other_persona"])
        assert row["cosine"] == pytest.approx(cosines(matrix)[pair], abs=1e-6)
        assert row["cosine_centered"] == pytest.approx(centered(matrix)[pair], abs=1e-5)
        assert row["norm"] == pytest.approx(np.linalg.norm(matrix[pair[0]]), rel=1e-6)
        assert row["norm_centered"] == pytest.approx(np.linalg.norm((matrix - matrix.mean(0))[pair[0]]), rel=1e-5)
        assert (row["n"], row["n_other"], row["n_personas"]) == (3, 3, len(PERSONAS))
    assert rows["cosine"].min() > 0.98  # what the personas share hides what sets them apart
    assert rows["cosine_centered"].min() < 0


@pytest.mark.parametrize("is_centered", [False, True])
def test_own_cosines_meet_the_leakage_of_the_checkpoints_trained_from_that_model(warehouse, is_centered):
    matrix = means(vectors_of(10 * 2 + len("last")))
    expected = (centered(matrix) if is_centered else cosines(matrix))[0]
    rows = warehouse.select(
        "select * from leakage_cosine_pairs where reader = 'parent' and layer = 2 and stratum = 'last' and centered = $centered", {"centered": is_centered}
    )
    assert len(rows) == len(CELLS) * len(OTHERS)
    for row in rows.iter_rows(named=True):
        index = PERSONAS.index(row["persona"])
        assert (row["origin"], row["source"], row["vectors_from"], row["site"], row["record"]) == ("extracted", "villain", "base", "resid_post", None)
        assert row["cosine"] == pytest.approx(expected[index], abs=1e-5)
        assert row["rate"] == CELLS[row["lr"], row["epochs"]][index] / 24


def test_rank_correlations_of_own_cosines_with_leakage(warehouse):
    rows = warehouse.select("select * from leakage_cosine where reader = 'parent' and layer = 1 and stratum = 'last' and not centered")
    found = {(row["lr"], row["epochs"]): row for row in rows.iter_rows(named=True)}
    assert found.keys() == {*CELLS, (None, None)} and set(rows["origin"]) == {"extracted"}
    cosine = cosines(means(vectors_of(10 + len("last"))))[0, 1:]
    rates = {cell: np.array(counts[1:]) / 24 for cell, counts in CELLS.items()}
    for cell, rate in rates.items():
        row = found[cell]
        assert (row["n"], row["n_personas"], row["n_distinct"]) == (5, 5, len(set(rate)))
        if len(set(rate)) == 1:
            assert row["rho"] is None and row["p"] is None
        else:
            expected = stats.spearmanr(cosine, rate)
            assert (row["rho"], row["p"]) == (pytest.approx(expected[0], abs=1e-12), pytest.approx(expected[1], rel=1e-9))
    pooled = found[None, None]
    expected = stats.spearmanr(np.tile(cosine, 3), np.concatenate(list(rates.values())))
    assert (pooled["configuration"], pooled["n"], pooled["n_personas"]) == ("pooled", 15, 5)
    assert (pooled["rho"], pooled["p"]) == (pytest.approx(expected[0], abs=1e-12), pytest.approx(expected[1], rel=1e-9))
    by_persona = stats.spearmanr(cosine, np.mean(list(rates.values()), axis=0).round(12))
    assert (pooled["rho_personas"], pooled["p_personas"]) == (pytest.approx(by_persona[0], abs=1e-12), pytest.approx(by_persona[1], rel=1e-9))


def test_the_trained_checkpoint_s_own_vectors_stand_beside_the_parent_s(warehouse):
    rows = warehouse.select("select * from leakage_cosine where reader = 'own' order by centered")
    assert rows.select("layer", "stratum", "site", "centered", "configuration", "n").rows() == [
        (1, "last", "resid_post", False, "pooled", 5),
        (1, "last", "resid_post", True, "pooled", 5),
    ]
    rate = np.array(CELLS[1e-5, 3.0][1:]) / 24
    matrix = means(vectors_of(99))
    for row, cosine in zip(rows.iter_rows(named=True), (cosines(matrix), centered(matrix)), strict=True):
        assert row["rho"] == pytest.approx(stats.spearmanr(cosine[0, 1:], rate)[0], abs=1e-12)
