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
planted_personas = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted_personas.py"))))
PERSONAS, OTHERS, QUESTIONS, CELLS = planted_personas.PERSONAS, planted_personas.OTHERS, planted_personas.QUESTIONS, planted_personas.CELLS
vectors_of, completions = planted_personas.vectors_of, planted_personas.completions


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
    """The planted personas; not to be written to."""
    lake = Lake.open(tmp_path_factory.mktemp("personas"))
    planted_personas.build(lake)
    return lake


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


def test_the_map_holds_the_principal_axes_of_numpy_with_the_share_of_each(warehouse):
    rows = warehouse.select("select * from persona_map where checkpoint = 'base' order by persona")
    assert len(rows) == 3 * len(PERSONAS)
    order = np.argsort(PERSONAS)
    for place, found in rows.group_by("layer", "stratum"):
        matrix = means(vectors_of(10 * place[0] + len(place[1]))).astype(np.float64)
        left, values, _ = np.linalg.svd(matrix - matrix.mean(0), full_matrices=False)
        for axis, name in enumerate(("x", "y")):
            drawn, expected = found[name].to_numpy(), (left[:, axis] * values[axis])[order]
            sign = np.sign(expected[np.abs(expected).argmax()])
            np.testing.assert_allclose(drawn, sign * expected, atol=1e-9 * values[0])
            np.testing.assert_allclose(found[f"{name}_share"].to_numpy(), values[axis] ** 2 / (values**2).sum(), rtol=1e-9)
        assert set(found["n_personas"]) == {len(PERSONAS)} and set(found["n"]) == {3}


@pytest.mark.parametrize("spread", [[5.0, 5.0, 0.0], [1e3, 1.0, 1e-3], [3.0, 0.0, 0.0]])
def test_equal_far_apart_and_missing_axes(spread, tmp_path):
    """Four personas on orthogonal directions of known size: the shares are those sizes', and a second axis there is only where something lies along it."""
    lake = Lake.open(tmp_path)
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) * spread
    rows = [
        {"persona": f"p{index}", "question_id": "q", "example_id": f"p{index}/q", "input_hash": str(index), "stratum": "last", "layer": 0, "site": "resid_post"}
        | {"vector": corner.tolist()}
        for index, corner in enumerate(corners)
    ]
    planted.write(lake, planted.spec("activations", checkpoint="base", subject="base"), activations=rows, checkpoints=[planted.checkpoint("base")])
    found = Warehouse(lake).select("select x, y, x_share, y_share from persona_map order by persona")
    first, second = np.square(spread)[:2] / np.square(spread).sum()
    assert found["x_share"].to_list() == pytest.approx([first] * 4)
    if spread[1] == 0:
        assert found["y"].null_count() == 4
    else:
        assert found["y_share"].to_list() == pytest.approx([second] * 4, rel=1e-6)


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
