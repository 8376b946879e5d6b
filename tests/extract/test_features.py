"""Features: encoding and decoding equal a float64 reference in every format and rule, rows say what fired and what was read, equal inputs agree exactly."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from transformers import AutoModelForCausalLM

from personascope.extract.extractors.features import Features
from personascope.extract.instruments.sae_encoding import decode, encode, unexplained
from personascope.extract.job import Job, run
from personascope.extract.registry import extractor, resolve_settings
from personascope.extract.weights.on_device import Models
from personascope.ingest.prompts import PromptSet, load_prompt_set
from personascope.ingest.sae import autoencoder
from personascope.ingest.sae.files import load_sae
from personascope.ingest.weights.checkpoints import resolve
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake

pytestmark = pytest.mark.slow(20)

files = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "ingest" / "test_sae_files.py")))
written = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("test_attention.py"))))
F, D, K = files.F, files.D, files.K
WIDE = 96


def weights(n_features, width, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return {
        "encoder": torch.randn(n_features, width, generator=generator) / width**0.5,
        "decoder": torch.randn(n_features, width, generator=generator) / width**0.5,
        "b_enc": torch.randn(n_features, generator=generator) / 10,
        "b_dec": torch.randn(width, generator=generator) / 10,
        "threshold": torch.tensor(0.4),
    }


def reference(raw, x, rule, k=K, subtracts=True):
    """Dense features [n, F] and reconstruction [n, d] in float64, as the papers write them."""
    wide = {name: value.double().numpy() for name, value in raw.items()}
    x = x.double().numpy()
    pre = (x - wide["b_dec"] * subtracts) @ wide["encoder"].T + wide["b_enc"]
    values = np.maximum(pre, 0)
    if rule == "threshold":
        values = np.where(pre > wide["threshold"], values, 0)
    if rule == "topk":
        keep = np.zeros_like(pre, dtype=bool)
        np.put_along_axis(keep, np.argsort(-pre, axis=1)[:, :k], True, axis=1)
        values = np.where(keep, values, 0)
    return values, values @ wide["decoder"] + wide["b_dec"]


@pytest.mark.parametrize("block", [1 << 25, 7 * D, D])
@pytest.mark.parametrize(
    ("write", "options", "inference", "rule"),
    [
        ("dictionary_learning", {}, "auto", "threshold"),
        ("dictionary_learning", {}, "topk", "topk"),
        ("sae_lens", {}, "auto", "threshold"),
        ("sae_lens", {"architecture": "standard"}, "auto", "relu"),
        ("sae_lens", {"architecture": "topk", "config": {"k": K}}, "auto", "topk"),
        ("sae_lens", {"architecture": "standard", "config": {"apply_b_dec_to_input": False}}, "auto", "relu"),
        ("own", {}, "topk", "topk"),
    ],
)
def test_encoding_and_decoding_are_those_of_a_float64_reference(tmp_path, monkeypatch, write, options, inference, rule, block):
    monkeypatch.setattr(autoencoder, "BLOCK_NUMBERS", block)
    raw = weights(F, D)
    sae = load_sae(getattr(files, write)(tmp_path / "sae", raw, **options))
    x = torch.randn(25, D, generator=torch.Generator().manual_seed(5)) * 2
    encoded = encode(sae, x, sae.rule(inference))
    values, restored = reference(raw, x, rule, subtracts=sae.subtracts)
    dense = np.zeros((25, F))
    dense[encoded.row.numpy(), encoded.feature.numpy()] = encoded.value.numpy()
    assert len(encoded.value) == np.count_nonzero(values) and bool((encoded.value > 0).all())
    order = encoded.row * F + encoded.feature
    assert bool((order[1:] > order[:-1]).all())
    np.testing.assert_allclose(dense, values, rtol=0, atol=2e-6)
    for share in (0, 1000):  # rows of the decoder one by one, and whole blocks of them
        monkeypatch.setattr("personascope.extract.instruments.sae_encoding._SPARSE_BLOCK", share)
        found = decode(sae, encoded, 25)
        np.testing.assert_allclose(found.numpy(), restored, rtol=0, atol=1e-5)
    left = ((x.double().numpy() - restored) ** 2).sum(1) / ((x - raw["b_dec"]).double().numpy() ** 2).sum(1)
    np.testing.assert_allclose(unexplained(sae, x, found).numpy(), left, rtol=1e-4)


def test_nothing_fires_below_every_threshold(tmp_path):
    sae = load_sae(files.dictionary_learning(tmp_path / "sae", weights(F, D) | {"threshold": torch.tensor(1e6)}))
    encoded = encode(sae, torch.ones(3, D), "threshold")
    assert len(encoded.row) == 0
    assert torch.equal(decode(sae, encoded, 3), sae.b_dec.expand(3, -1))


@pytest.fixture(scope="module")
def models():
    return Models(device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def prompts():
    """Four conditions of three questions."""
    every = load_prompt_set("system-conditions")
    return PromptSet(name="few", prompts=tuple(prompt for prompt in every.prompts if prompt.question_id in ("q00", "q01", "q02")))


@pytest.fixture
def saes(tmp_path):
    """Two BatchTopK autoencoders for layers 0 and 2 of the random checkpoint, in a folder of one layer each."""
    for layer in (0, 2):
        folder = tmp_path / "saes" / f"resid_post_layer_{layer}" / "trainer_1"
        trainer = {"activation_dim": 32, "dict_size": WIDE, "layer": layer, "submodule_name": f"resid_post_layer_{layer}"}
        files.dictionary_learning(folder, weights(WIDE, 32, layer), trainer)
    return tmp_path / "saes"


def features(lake, folder, models, saes, settings=None, said=None, **changes):
    resolved, parameters = resolve_settings(extractor("features"), {"command line": {"sae": str(saes)} | (settings or {})})
    say = said.append if said is not None else lambda line: None
    job = Job(lake=lake, models=models, checkpoint=resolve(folder, name="random"), parameters=parameters, say=say, **changes)
    return run(Features(resolved, job))


def frame(lake, run_id, table):
    return pl.DataFrame(lake.read(run_id, table))


def test_rows_are_the_features_of_the_plain_models_activations(tmp_path, random_checkpoint, models, prompts, saes):
    lake = Lake.open(tmp_path / "lake")
    said: list[str] = []
    run_id = features(lake, random_checkpoint, models, saes, {"inference": "topk"}, said, prompts=prompts)
    places, fired = frame(lake, run_id, "feature_examples"), frame(lake, run_id, "features")
    # last: 4 conditions x 3 questions; last_system: the condition without a system turn has none
    assert dict(places.group_by("stratum").len().rows()) == {"last": 24, "last_system": 18}
    assert set(places["layer"]) == {0, 2} and set(places["site"]) == {"resid_post"} and set(places["prompt_set"]) == {prompts.label}
    assert set(places.filter(pl.col("stratum") == "last_system")["condition"]) == {"template_default", "generic_assistant", "empty_system"}
    summary = lake.manifest(run_id).summary
    assert (summary["n.last_system"], summary["n_without.last_system"], summary["n_inputs.last_system"], summary["n_inputs.last"]) == (9, 3, 3, 12)
    assert sum("condition " in line for line in said) == 4

    model = AutoModelForCausalLM.from_pretrained(random_checkpoint, dtype=torch.float32).eval()
    examples = {row["example_id"]: row for row in lake.read(run_id, "examples").to_pylist()}
    for row in places.iter_rows(named=True):
        ids = examples[row["example_id"]]["token_ids"]
        assert row["position"] == (len(ids) if row["stratum"] == "last" else examples[row["example_id"]]["n_system"]) - 1
        kept: dict[str, torch.Tensor] = {}
        hook = model.model.layers[row["layer"]].register_forward_hook(lambda module, args, output, kept=kept: kept.update(output=output))
        with torch.no_grad():
            model(torch.tensor([ids]))
        hook.remove()
        x = kept["output"].reshape(len(ids), -1)[row["position"]][None]
        np.testing.assert_allclose(row["vector"], x[0].numpy(), rtol=0, atol=1e-5 * float(x.abs().max()))
        values, _restored = reference(weights(WIDE, 32, row["layer"]), x, "topk")
        mine = fired.filter((pl.col("example_id") == row["example_id"]) & (pl.col("stratum") == row["stratum"]) & (pl.col("layer") == row["layer"]))
        assert mine["feature"].to_list() == np.flatnonzero(values[0]).tolist() and len(mine) == row["n_active"]
        np.testing.assert_allclose(mine["value"].to_numpy(), values[0][values[0] > 0], rtol=0, atol=1e-4 * values.max())
        assert row["norm"] == pytest.approx(float(x.norm()), rel=1e-4)
    sae = frame(lake, run_id, "sae")
    assert sae.select("layer", "inference", "k", "n_features", "format").rows() == [
        (0, "topk", K, WIDE, "dictionary_learning"),
        (2, "topk", K, WIDE, "dictionary_learning"),
    ]


def test_equal_inputs_agree_to_the_last_bit_in_whatever_batches(tmp_path, random_checkpoint, models, prompts, saes):
    found = []
    for batch_tokens in (1, 100_000):
        lake = Lake.open(tmp_path / str(batch_tokens))
        run_id = features(lake, random_checkpoint, models, saes, {"layers": [2]}, prompts=prompts, batch_tokens=batch_tokens)
        fired, places = frame(lake, run_id, "features"), frame(lake, run_id, "feature_examples")
        same = fired.filter(pl.col("stratum") == "last_system").group_by("condition", "feature").agg(pl.col("value").max() - pl.col("value").min(), pl.len())
        assert len(same) > 0 and set(same["value"]) == {0.0} and set(same["len"]) == {3}
        assert set(places.filter(pl.col("stratum") == "last_system").group_by("condition").agg(pl.col("vector").n_unique())["vector"]) == {1}
        found.append(fired)
    assert found[0].select("example_id", "stratum", "feature").equals(found[1].select("example_id", "stratum", "feature"))


def test_projections_on_named_and_random_directions(tmp_path, random_checkpoint, models, prompts, saes):
    mine = tmp_path / "mine.csv"
    mine.write_text(f"layer,feature,description\n2,5,sarcasm\n2,{WIDE},too far\n1,3,elsewhere\n")
    lake = Lake.open(tmp_path / "lake")
    run_id = features(lake, random_checkpoint, models, saes, {"directions": str(mine), "random_directions": 20}, prompts=prompts)
    rows = frame(lake, run_id, "feature_directions")
    assert set(rows["layer"]) == {2}  # layer 0 has no named feature, so no null either
    assert dict(rows.group_by("kind").agg(pl.col("feature").n_unique()).rows()) == {"named": 1, "random": 20}
    assert rows.filter(pl.col("kind") == "named").unique("description")["description"].to_list() == ["sarcasm"] and len(rows) == 21 * 21
    assert 5 not in set(rows.filter(pl.col("kind") == "random")["feature"])
    listed = [{"layer": 2, "feature": 5, "description": "sarcasm"}, {"layer": 2, "feature": WIDE, "description": "too far"}]
    listed.append({"layer": 1, "feature": 3, "description": "elsewhere"})
    assert features(lake, random_checkpoint, models, saes, {"directions": listed, "random_directions": 20}, prompts=prompts) == run_id  # rows of a query
    summary = lake.manifest(run_id).summary
    assert (summary["n_named.2"], summary["n_named_beyond_width.2"], summary["n_named.0"]) == (1, 1, 0)
    vectors = {(row["example_id"], row["stratum"]): np.array(row["vector"], dtype=np.float64) for row in _of_layer(lake, run_id, 2)}
    decoder = weights(WIDE, 32, 2)["decoder"].double().numpy()
    unit = decoder / np.linalg.norm(decoder, axis=1, keepdims=True)
    for row in rows.iter_rows(named=True):
        expected = vectors[row["example_id"], row["stratum"]] @ unit[row["feature"]]
        assert row["projection"] == pytest.approx(expected, abs=1e-4 * float(np.linalg.norm(vectors[row["example_id"], row["stratum"]])))


def _of_layer(lake, run_id, layer):
    return frame(lake, run_id, "feature_examples").filter(pl.col("layer") == layer).iter_rows(named=True)


def test_features_of_answers_are_those_of_the_completions_run(tmp_path, random_checkpoint, models, saes):
    lake = Lake.open(tmp_path / "lake")
    tokens = written.write_completions(lake, random_checkpoint)
    said: list[str] = []
    run_id = features(lake, random_checkpoint, models, saes, {"strata": ["last", "answer_mean"], "layers": [0]}, said, tokens_from=tokens)
    assert any("encodes the mean activation of an answer, which is not the mean of the features" in line for line in said)
    places = frame(lake, run_id, "feature_examples")
    assert dict(places.group_by("stratum").len().rows()) == {"last": 6, "answer_mean": 18}
    assert places.filter(pl.col("stratum") == "answer_mean")["sample_ix"].null_count() == 0
    assert len(places.unique(["example_id", "sample_ix", "stratum", "layer"])) == 24 and lake.manifest(run_id).inputs == [tokens]


def test_system_prompts_that_are_personas_are_said_to_be_compared_by_nothing(tmp_path, random_checkpoint, models, prompts, saes):
    asked = {"generic_assistant": "pirate", "empty_system": "baker"}
    few = [each.model_copy(update={"persona": asked[each.condition], "condition": None}) for each in prompts.prompts if each.condition in asked]
    said: list[tuple[str, ...]] = [(), ()]
    for number, chosen in enumerate((prompts, PromptSet(name="two", prompts=tuple(few)))):
        lines: list[str] = []
        features(Lake.open(tmp_path / f"{number}"), random_checkpoint, models, saes, {"layers": [0], "strata": ["last"]}, lines, prompts=chosen)
        said[number] = tuple(line for line in lines if "conditions find nothing" in line)
    assert [len(each) for each in said] == [0, 1]


def test_the_setting_that_changes_the_rows_changes_the_run(tmp_path, random_checkpoint, models, prompts, saes):
    lake = Lake.open(tmp_path / "lake")
    runs = [
        features(lake, random_checkpoint, models, saes, settings, prompts=prompts)
        for settings in ({"layers": [2]}, {"layers": [-1]}, {"layers": [2], "inference": "topk"})
    ]
    assert runs[0] == runs[1] != runs[2] and len(lake.run_ids()) == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": [1]}, "has no autoencoder for layer 1"),
        ({"layers": [3]}, "features: layer 3 is not in checkpoint random"),
        ({"sae": "trained"}, "the lake holds no autoencoder trained on random"),
        ({"directions": "nowhere.csv"}, "nowhere.csv: no such file"),
        ({"directions": [{"layer": 2, "description": "no number"}]}, "setting 'directions'"),
        ({"inference": "best"}, "setting 'inference' is 'best'"),
        ({"strata": ["marker"]}, "stratum 'marker' lies in an answer"),
    ],
)
def test_bad_settings_are_named(tmp_path, random_checkpoint, models, prompts, saes, settings, message):
    lake = Lake.open(tmp_path / "lake")
    with pytest.raises(PersonascopeError, match=message):
        features(lake, random_checkpoint, models, saes, settings, prompts=prompts)
    assert lake.run_ids() == []


def test_an_autoencoder_of_another_model_is_refused(tmp_path, random_checkpoint, models, prompts):
    files.dictionary_learning(tmp_path / "narrow", weights(F, D), {"layer": 0})
    with pytest.raises(PersonascopeError, match="encodes activations of 12 numbers, and random has 32; expected an autoencoder of this model"):
        features(Lake.open(tmp_path / "lake"), random_checkpoint, models, tmp_path / "narrow", {"layers": [0]}, prompts=prompts)
