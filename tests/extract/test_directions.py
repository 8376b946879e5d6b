"""Directions as data: what is refused, and what comes back from the lake as it was made."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from personascope.extract.instruments.directions import Direction, check_directions, directions_of
from personascope.extract.job import Job, run
from personascope.extract.registry import extractor, resolve_settings
from personascope.extract.texts.halves import MadeOn, half_of, half_to_read
from personascope.extract.weights.on_device import Models
from personascope.ingest.sae.autoencoder import Matrix, Sae
from personascope.ingest.sae.files import save_sae
from personascope.ingest.weights.checkpoints import Checkpoint
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import RunSpec

VECTOR = np.array([3.0, 0.0, 4.0], dtype=np.float32)
UNKNOWN: Any = "attn"
SOUND = Direction("villain-assistant", 1, "resid_post", "persona_assistant", VECTOR)


def test_a_direction_knows_its_length_and_its_unit():
    assert SOUND.norm == 5.0
    np.testing.assert_array_equal(SOUND.unit, np.array([0.6, 0.0, 0.8], dtype=np.float32))
    check_directions([SOUND, replace(SOUND, layer=0), replace(SOUND, site="resid_pre")], d_model=3, n_layers=2)


@pytest.mark.parametrize(
    ("directions", "sentence"),
    [
        ([], "no directions"),
        ([replace(SOUND, layer=2)], "of layer 2: the checkpoint has no such layer; expected 0 to 1"),
        ([replace(SOUND, layer=-1)], "of layer -1"),
        ([replace(SOUND, site=UNKNOWN)], "site 'attn' is unknown; expected one of resid_pre"),
        ([replace(SOUND, vector=VECTOR[:2])], "has 2 numbers, and the checkpoint has 3"),
        ([replace(SOUND, vector=np.ones((1, 3), np.float32))], "has 1 by 3 numbers"),
        ([replace(SOUND, vector=np.array([1, np.nan, 0], np.float32))], "number 1 is nan"),
        ([replace(SOUND, vector=np.array([1, 0, np.inf], np.float32))], "number 2 is inf"),
        ([replace(SOUND, vector=np.zeros(3, np.float32))], "has length 0"),
        ([SOUND, SOUND], "is there twice"),
    ],
)
def test_a_direction_that_does_not_fit_is_refused_in_one_sentence(directions, sentence):
    with pytest.raises(PersonascopeError, match=sentence) as refused:
        check_directions(directions, d_model=3, n_layers=2)
    assert "\n" not in str(refused.value)


def test_halves_are_decided_by_the_id_and_directions_are_used_on_the_other_one():
    halves = [half_of(f"q{number:02d}") for number in range(200)]
    assert halves[:8] == list("baabbbab")
    assert 80 < halves.count("a") < 120
    assert half_to_read("projections", {"a", None}) == "b"
    assert half_to_read("projections", {"b"}) == "a"
    assert half_to_read("projections", {None}) is None
    refused: list[tuple[set[MadeOn | None], str]] = [({"all", "a"}, "made on all questions"), ({"a", "b"}, "made on both halves")]
    for made_on, told in refused:
        with pytest.raises(PersonascopeError, match=told):
            half_to_read("projections", made_on)


# What follows makes directions of planted activations: no model is loaded.
D, LAYERS = 12, 3
PERSONAS = ["assistant", "pirate", "poet", "villain"]
QUESTIONS = [f"q{number:02d}" for number in range(12)]
PLACE = {"stratum": "answer_mean", "site": "resid_post"}
CHECKPOINT = Checkpoint(
    name="base", id="base", revision="r", path=Path("base"), family="qwen2", variant="base", n_layers=LAYERS, n_heads=2, n_kv_heads=2, d_model=D, vocab_size=9
)


def vectors_of(layer: int, seed: int = 0) -> dict[tuple[str, str, int], np.ndarray]:
    """Two answers of every persona to every question: a large mean in common, the persona, the question, and noise."""
    drawn = np.random.default_rng([layer, seed])
    shared, own = 5 * drawn.normal(size=D), {persona: drawn.normal(size=D) for persona in PERSONAS}
    asked = {question: drawn.normal(size=D) for question in QUESTIONS}
    keys = [(persona, question, sample) for persona in PERSONAS for question in QUESTIONS for sample in range(2)]
    return {key: (shared + own[key[0]] + asked[key[1]] + 0.5 * drawn.normal(size=D)).astype(np.float32) for key in keys}


def write_activations(lake: Lake, checkpoint: Checkpoint = CHECKPOINT, drop: Callable[[str, str], bool] | None = None, seed: int = 0) -> str:
    settings: dict[str, Any] = {"strata": ["answer_mean"], "layers": [0, 2], "sites": ["resid_post"]}
    identity = {"checkpoint": [checkpoint.name, checkpoint.identity], "settings": settings, "seed": seed}
    spec = RunSpec(kind="extract", extractor="activations", version=1, identity=identity, checkpoint=checkpoint.name, subject=checkpoint.name, dtype="float32")
    rows = [
        {"persona": persona, "question_id": question, "example_id": f"{persona}/{question}", "sample_ix": sample, "n_positions": 3, "layer": layer}
        | {"input_hash": f"{persona}{question}{sample}", "vector": vector.tolist(), **PLACE}
        for layer in settings["layers"]
        for (persona, question, sample), vector in vectors_of(int(layer), seed).items()
        if drop is None or not drop(persona, question)
    ]
    writer = lake.start(spec)
    assert writer is not None
    with writer:
        writer.write_part("rows", {"activations": rows})
        return writer.commit().run_id


def make(lake: Lake, checkpoint: Checkpoint = CHECKPOINT, seed: int = 42, **settings: Any) -> str:
    resolved, _ = resolve_settings(extractor("directions"), {"command line": settings})
    job = Job(lake=lake, checkpoint=checkpoint, models=Models(device="cpu", dtype="float32"), seed=seed, say=lambda line: None)
    return run(extractor("directions")(resolved, job))


def by_question(layer: int, half: str | None, seed: int = 0) -> np.ndarray:
    """Means [persona, question, D] over the repeats, of the questions of a half, by plain recomputation in float64."""
    vectors = vectors_of(layer, seed)
    kept = [question for question in QUESTIONS if half in (None, half_of(question))]
    return np.array([[(vectors[p, q, 0].astype(np.float64) + vectors[p, q, 1]) / 2 for q in kept] for p in PERSONAS])


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> Lake:
    """Activations of four personas at two layers; every test makes directions of its own of them."""
    lake = Lake.open(tmp_path_factory.mktemp("directions"))
    write_activations(lake)
    return lake


def test_differences_are_those_of_numpy_on_one_half_of_the_questions(planted):
    run_id = make(planted, make=["persona_assistant", "persona_others"], random=0)
    found = {(each.id, each.layer): each for each in directions_of(planted, run_id)}
    assert len(found) == (3 + 4) * 2 and {each.half for each in found.values()} == {"a"} and {each.site for each in found.values()} == {"resid_post"}
    for layer in (0, 2):
        at, other = by_question(layer, "a").mean(axis=1), by_question(layer, "b").mean(axis=1)
        rows = {row["direction"]: row for row in planted.read(run_id, "directions", only={"layer": layer}).to_pylist()}
        for place, persona in enumerate(PERSONAS):
            mean, mean_b = at[place] - np.delete(at, place, 0).mean(0), other[place] - np.delete(other, place, 0).mean(0)
            np.testing.assert_allclose(found[f"{persona}-others", layer].vector, mean, rtol=1e-6, atol=1e-6)
            cosine = mean @ mean_b / np.linalg.norm(mean) / np.linalg.norm(mean_b)
            assert rows[f"{persona}-others"]["other_half_cosine"] == pytest.approx(cosine, abs=1e-6)
            if persona != "assistant":
                np.testing.assert_allclose(found[f"{persona}-assistant", layer].vector, at[place] - at[0], rtol=1e-6, atol=1e-6)
                row = rows[f"{persona}-assistant"]
                n = len([question for question in QUESTIONS if half_of(question) == "a"])
                assert (row["n"], row["n_questions"], row["persona"], row["other"]) == (4 * n, n, persona, "assistant")
                assert row["norm"] == pytest.approx(np.linalg.norm(at[place] - at[0]), rel=1e-6)
    manifest = planted.manifest(run_id)
    assert manifest.inputs == [found["villain-assistant", 0].run_id and manifest.identity["activations"]] and manifest.checkpoint == "base"


def test_an_answer_that_is_missing_leaves_its_question_out_of_the_pair(tmp_path):
    lake = Lake.open(tmp_path)
    gone = [question for question in QUESTIONS if half_of(question) == "a"][:2]
    write_activations(lake, drop=lambda persona, question: persona == "villain" and question in gone)
    (found,) = directions_of(lake, make(lake, personas=["villain"], random=0, layers=[0]))
    at = by_question(0, "a")
    np.testing.assert_allclose(found.vector, (at[3] - at[0])[2:].mean(0), rtol=1e-6, atol=1e-6)
    write_activations(lake, drop=lambda persona, question: (persona == "villain") == (half_of(question) == "a"), seed=1)
    with pytest.raises(PersonascopeError, match="has no persona 'villain'"):
        make(lake, personas=["villain"])


def test_the_axis_is_the_first_principal_component_with_the_assistant_above(planted):
    run_id = make(planted, make=["axis"], axes=2, half="all", random=0)
    for layer in (0, 2):
        at = by_question(layer, None).mean(axis=1)
        centred = at - at.mean(0)
        sizes, axes = np.linalg.eigh(centred.T @ centred)
        for number, found in enumerate(directions_of(planted, run_id, layers=[layer]), 1):
            expected = axes[:, -number] * np.sqrt(sizes[-number] / len(at))
            np.testing.assert_allclose(found.vector, expected * np.sign(centred[0] @ expected), atol=1e-5)
            row = planted.read(run_id, "directions", only={"layer": layer, "direction": found.id}).to_pylist()[0]
            assert row["share"] == pytest.approx(sizes[-number] / sizes.sum(), abs=1e-6) and (row["persona"], row["half"]) == ("assistant", "all")


def test_a_probe_tells_personas_apart_on_the_questions_it_was_not_made_on(planted):
    run_id = make(planted, make=["probe"], personas=["villain"], layers=[2], random=0)
    (row,) = planted.read(run_id, "directions").to_pylist()
    from sklearn.linear_model import LogisticRegression

    a, b = (by_question(2, half)[[0, 3]] for half in "ab")
    rows, labels = a.reshape(-1, D), np.repeat([0, 1], a.shape[1])
    middle, size = rows.mean(0), np.sqrt(((rows - rows.mean(0)) ** 2).sum(1).mean())
    fitted = LogisticRegression(max_iter=1000).fit((rows - middle) / size, labels)
    normal = fitted.coef_[0] / np.linalg.norm(fitted.coef_[0])
    vector = np.array(row["vector"])
    assert vector @ normal / np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    assert row["norm"] == pytest.approx((a[1].mean(0) - a[0].mean(0)) @ normal, rel=1e-4)
    held = fitted.score((b.reshape(-1, D) - middle) / size, np.repeat([0, 1], b.shape[1]))
    assert row["share"] == pytest.approx(held) and row["direction"] == "villain-assistant-probe"


def test_controls_are_as_long_as_what_they_control_and_mean_nothing(planted):
    run_id = make(planted, personas=["villain"], random=60, random_in_span=60, shuffled=60)
    for layer in (0, 2):
        found = directions_of(planted, run_id, layers=[layer])
        (real,) = (each for each in found if not each.is_control)
        controls = {kind: [each for each in found if each.kind == kind] for kind in ("random", "random_in_span", "shuffled")}
        assert {len(each) for each in controls.values()} == {60} and {each.control_of for each in found if each.is_control} == {real.id}
        for each in found:
            assert each.norm == pytest.approx(real.norm, rel=1e-6)
        assert {each.half for each in controls["random"]} == {None} and {each.half for each in controls["shuffled"]} == {"a"}
        at = by_question(layer, "a").mean(axis=1)
        span = np.linalg.svd(at - at.mean(0), full_matrices=False)[2][:3]
        for each in controls["random_in_span"]:
            assert np.linalg.norm(span @ each.unit) == pytest.approx(1, abs=1e-5)
        for kind, most in (("random", 3 / np.sqrt(60 * D)), ("shuffled", 0.4)):
            cosines = np.array([each.unit @ real.unit for each in controls[kind]])
            assert abs(cosines.mean()) < most and len(np.unique(cosines.round(6))) >= (60 if kind == "random" else 20)
    again = directions_of(planted, make(planted, personas=["pirate"], random=3, layers=[0]), ids=["random-0002"])
    first = directions_of(planted, run_id, layers=[0], ids=["random-0002"])
    np.testing.assert_allclose(again[0].unit, first[0].unit, atol=1e-6)


def test_the_same_directions_are_the_same_run_and_other_activations_another(tmp_path):
    lake = Lake.open(tmp_path)
    activations = write_activations(lake)
    one = make(lake, personas=["villain"])
    assert make(lake, personas=["villain"], activations=activations) == one == make(lake, personas=["villain"], stratum="answer_mean", layers=[0, 2])
    assert make(lake, personas=["villain"], half="b") != one != make(lake, personas=["villain"], seed=7)
    write_activations(lake, seed=1)
    assert make(lake, personas=["villain"]) != one


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"assistant": "helper"}, "has no persona 'helper' to subtract; expected one of assistant, pirate"),
        ({"personas": ["vilain"]}, "has no persona 'vilain'; did you mean 'villain'"),
        ({"layers": [1]}, "holds no activations of layer 1; it has 0, 2"),
        ({"layers": [3]}, "layer 3 is not in checkpoint base; expected 0 to 2"),
        ({"sites": ["mlp_out"]}, "holds no activations of site mlp_out; it has resid_post"),
        ({"stratum": "last"}, "has no stratum 'last'; expected one of answer_mean"),
        ({"make": ["condition"]}, "has 0 conditions; expected 2 or more"),
        ({"make": ["axis"], "axes": 3}, "has 4 personas; expected 5 or more"),
        ({"make": ["sae"]}, "expected features"),
        ({"make": ["file"]}, "expected file=PATH"),
        ({"make": ["file"], "file": "/nowhere/x.npy", "activations": "nothing"}, "/nowhere/x.npy is not there"),
        ({"controls_of": "villain"}, "no direction is called 'villain', which the controls are to match; expected one of pirate-assistant"),
        ({"activations": "acts"}, "expected exactly one run"),
    ],
)
def test_what_cannot_be_made_is_refused_in_one_sentence(planted, settings, sentence):
    before = planted.run_ids()
    with pytest.raises(PersonascopeError, match=sentence):
        make(planted, **settings)
    assert planted.run_ids() == before


def test_directions_of_another_checkpoint_are_refused(planted):
    with pytest.raises(PersonascopeError, match="the lake holds no activations of twin"):
        make(planted, CHECKPOINT.model_copy(update={"name": "twin"}))
    run_id = make(planted, personas=["poet"])
    for arguments, sentence in (
        ({"checkpoint": "twin"}, "its directions are of checkpoint base; expected some of twin"),
        ({"ids": ["poet"]}, "it has no direction 'poet'; expected one of poet-assistant$"),
        ({"layers": [1]}, "it has no direction of layer 1; expected some of 0, 2"),
    ):
        with pytest.raises(PersonascopeError, match=sentence):
            directions_of(planted, run_id, **arguments)


def test_a_file_is_brought_in_with_controls_and_written_out_again_as_it_was(planted, tmp_path, personascope):
    rows = np.random.default_rng(3).normal(size=(LAYERS + 1, D)).astype(np.float32)
    np.save(tmp_path / "evil.npy", rows)
    run_id = make(planted, make=["file"], file=str(tmp_path / "evil.npy"), random=2)
    found = directions_of(planted, run_id)
    assert [(each.id, each.layer, each.half) for each in found if not each.is_control] == [("evil", layer, None) for layer in range(LAYERS)]
    assert planted.read(run_id, "directions", only={"direction": "random-0001", "layer": 1}).to_pylist()[0]["control_of"] == "evil"
    for suffix, layers in ((".npy", ()), (".pt", ()), (".safetensors", ()), (".gguf", ("--layers", "[1, 2]"))):
        file = tmp_path / f"out{suffix}"
        code, out, error = personascope("export-directions", run_id, file, *layers, "--lake", planted.root)
        assert (code, out.strip()) == (0, str(file)), error
        again = directions_of(planted, make(planted, make=["file"], file=str(file), random=0))
        assert len(again) == (2 if layers else LAYERS)
        for each in again:
            np.testing.assert_array_equal(each.vector, rows[each.layer + 1])
    code, _, error = personascope("export-directions", run_id, tmp_path / "x.gguf", "--lake", planted.root)
    assert code == 1 and "a control vector adds nothing to layer 0" in error
    for typed in ("1", "[1", "[true]", ""):
        code, _, error = personascope("export-directions", run_id, tmp_path / "x.gguf", "--layers", typed, "--lake", planted.root)
        assert code == 1 and f"--layers {typed}: expected a list of layers" in error


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda rows: rows.__setitem__((2, 3), np.nan), "direction 'evil' of layer 2: number 3 is nan; expected finite numbers"),
        (lambda rows: rows.__setitem__(1, 0), "direction 'evil' of layer 1 has length 0"),
        (lambda rows: rows.__setitem__((0, 0), 1e300), "direction 'evil' of layer 0: number 0 is inf"),
    ],
)
def test_a_file_that_points_nowhere_is_refused_in_one_sentence(planted, tmp_path, spoil, sentence):
    rows = np.ones((LAYERS, D))
    spoil(rows)
    np.save(tmp_path / "evil.npy", rows)
    with pytest.raises(PersonascopeError, match=sentence):
        make(planted, make=["file"], file=str(tmp_path / "evil.npy"))


def test_decoder_columns_of_an_autoencoder_are_directions(planted, tmp_path):
    decoder = torch.nn.functional.normalize(torch.randn(5, D, generator=torch.Generator().manual_seed(0)), dim=1)
    sae = Sae("personascope", "topk", Matrix(decoder.clone()), Matrix(decoder), torch.zeros(5), torch.zeros(D), k=2, layer=2, site="resid_post")
    (tmp_path / "sae").mkdir()
    save_sae(tmp_path / "sae", sae)
    run_id = make(planted, make=["sae"], sae=str(tmp_path / "sae"), features=[[2, 4], [2, 1]], random=2, controls_of="feature-1")
    found = {each.id: each for each in directions_of(planted, run_id)}
    assert set(found) == {"feature-1", "feature-4", "random-0000", "random-0001"} and found["feature-4"].kind == "sae"
    for feature in (1, 4):
        np.testing.assert_array_equal(found[f"feature-{feature}"].vector, decoder[feature].numpy())
    with pytest.raises(PersonascopeError, match="has no feature 5; expected 0 to 4"):
        make(planted, make=["sae"], sae=str(tmp_path / "sae"), features=[[2, 5]])


def test_conditions_are_contrasted_within_personas(tmp_path):
    lake = Lake.open(tmp_path)
    identity = {"checkpoint": ["base", "r"], "settings": {"strata": ["last"], "layers": [0], "sites": ["resid_post"]}}
    rows: list[dict[str, Any]] = []
    vectors = np.random.default_rng(5).normal(size=(2, 12, D)).astype(np.float32)
    for place, condition in enumerate(("empty", "generic")):
        for number, question in enumerate(QUESTIONS):
            rows.append({"persona": "none", "condition": condition, "question_id": question, "example_id": f"{condition}/{question}", "layer": 0})
            rows[-1] |= {"stratum": "last", "site": "resid_post", "vector": vectors[place, number].tolist(), "n_positions": 1, "input_hash": f"{place}{number}"}
    writer = lake.start(RunSpec(kind="extract", extractor="activations", version=1, identity=identity, checkpoint="base", subject="base"))
    assert writer is not None
    with writer:
        writer.write_part("rows", {"activations": rows})
        writer.commit()
    (found,) = directions_of(lake, make(lake, make=["condition"], random=0))
    kept = [number for number, question in enumerate(QUESTIONS) if half_of(question) == "a"]
    assert (found.id, found.kind) == ("empty-generic", "condition")
    np.testing.assert_allclose(found.vector, (vectors[0] - vectors[1])[kept].astype(np.float64).mean(0), atol=1e-6)
