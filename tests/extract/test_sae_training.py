"""Training of small autoencoders: planted directions come back, dead features are revived, figures are honest, and what was trained is found again."""

import json
import shutil
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from personascope.extract.extractors.features import Features
from personascope.extract.extractors.sae_training import SaeSettings, TrainSae, _distinct_positions, massive_tokens, reconstruction, train
from personascope.extract.instruments.activation_pool import Pool, staged_pool
from personascope.extract.job import Job, run
from personascope.extract.registry import extractor, resolve_settings
from personascope.extract.weights.on_device import Models
from personascope.ingest.prompts import PromptSet, load_prompt_set
from personascope.ingest.sae.source import trained_folder
from personascope.ingest.weights.checkpoints import resolve
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.home import cache_root
from personascope.warehouse.store.lake import Lake

pytestmark = pytest.mark.slow(20)

SMALL = {"n_features": 48, "k": 4, "steps": 30, "batch_size": 64}


def planted(n, n_directions=24, width=16, active=2, seed=0):
    """Activations that are sums of few known unit directions, shifted and scaled far from what an optimiser likes."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(torch.randn(n_directions, width, generator=generator), dim=1)
    weight = torch.zeros(n, n_directions)
    chosen = torch.rand(n, n_directions, generator=generator).topk(active, dim=1).indices
    weight.scatter_(1, chosen, 1 + torch.rand(n, active, generator=generator))
    return 50 + 30 * weight @ directions, directions


@pytest.fixture(scope="module")
def found():
    activations, directions = planted(6000)
    settings = SaeSettings(n_features=32, k=2, steps=600, batch_size=256)
    return activations, directions, train(Pool.of(activations[600:]), settings, 1, "cpu", "test")


def test_planted_directions_come_back(found):
    activations, directions, trained = found
    cosines = trained.sae.decoder_rows(range(32), unit=True) @ directions.T.numpy()
    assert np.mean(cosines.max(0) > 0.95) > 0.8
    np.testing.assert_allclose(np.linalg.norm(trained.sae.decoder_rows(range(32)), axis=1), 1, rtol=1e-5)
    figures = reconstruction(trained.sae, Pool.of(activations[:600]), Pool.of(activations[600:]))
    assert figures["explained_variance"] > 0.9 and figures["l0"] <= 2 and figures["n_tokens"] == 5400
    assert trained.losses[1] < 0.2 * trained.losses[0]


def test_figures_are_those_of_a_float64_reference(found):
    activations, _, trained = found
    sae, x = trained.sae, activations[:600].double().numpy()
    encoder, decoder = (getattr(sae, name).rows(0, 32).double().numpy() for name in ("encoder", "decoder"))
    pre = (x - sae.b_dec.double().numpy()) @ encoder.T + sae.b_enc.double().numpy()
    kept = np.where(pre >= np.sort(pre, axis=1)[:, -2:-1], np.maximum(pre, 0), 0)
    left = ((x - kept @ decoder - sae.b_dec.double().numpy()) ** 2).sum()
    figures = reconstruction(sae, Pool.of(activations[:600]), Pool.of(activations[:600]))
    assert figures["explained_variance"] == pytest.approx(1 - left / ((x - x.mean(0)) ** 2).sum(), abs=1e-4)
    assert figures["l0"] == pytest.approx(np.count_nonzero(kept) / 600)
    assert figures["dead_share"] == pytest.approx(np.mean(~kept.any(0)))


def test_a_massive_token_is_told_from_the_others(tmp_path, random_checkpoint, models, prompts, cache, monkeypatch):
    activations, _ = planted(400)
    massive = Pool.of(torch.cat([activations, 1000 * activations[:1]]))
    assert massive_tokens(Pool.of(activations)).sum() == 0 and massive_tokens(massive).nonzero().ravel().tolist() == [400]

    said: list[str] = []
    lake = Lake.open(tmp_path / "lake")
    request("train-sae", lake, random_checkpoint, models, SMALL | {"layers": [0]}, prompts=prompts, say=said.append)
    assert not any("massive" in line for line in said)
    monkeypatch.setattr("personascope.extract.extractors.sae_training.MASSIVE", 1.0)  # half of the tokens
    run_id = request("train-sae", lake, random_checkpoint, models, SMALL | {"layers": [1]}, prompts=prompts, say=said.append)
    (line,) = [line for line in said if "massive" in line]
    figures = lake.manifest(run_id).summary
    assert f"{figures['explained_variance.1']:.3f}, and {figures['explained_variance_ordinary.1']:.3f} without them" in line
    assert f"layer 1: {figures['n_massive.1']} of " in line


def test_dead_features_are_revived(monkeypatch):
    """Without directions of its own, the data has work for every feature; a high learning rate kills a quarter of them."""
    activations = 20 + torch.randn(3000, 32, generator=torch.Generator().manual_seed(0))
    settings = SaeSettings(n_features=512, k=2, steps=300, batch_size=256, lr=2e-2)
    shares = []
    for weight in (1 / 32, 0.0):
        monkeypatch.setattr("personascope.extract.extractors.sae_training.AUXILIARY_WEIGHT", weight)
        shares.append(
            reconstruction(train(Pool.of(activations), settings, 1, "cpu", "test").sae, Pool.of(activations[:500]), Pool.of(activations))["dead_share"]
        )
    assert shares[0] < 0.1 and shares[1] > 0.2


def test_a_token_that_texts_share_with_all_before_it_counts_once():
    texts = [(1, 2, 3), (1, 2, 4, 5), (9, 2, 3), (1, 2, 3)]
    assert _distinct_positions(texts, 100, 0) == [[0, 1, 2], [2, 3], [0, 1, 2], []]
    fewer = _distinct_positions(texts, 4, 0)
    assert sum(map(len, fewer)) == 4 and all(set(some) <= set(every) for some, every in zip(fewer, _distinct_positions(texts, 100, 0), strict=True))


@pytest.fixture(scope="module")
def models():
    return Models(device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def prompts():
    every = load_prompt_set("personas").of_personas(["villain", "comedian"])
    return PromptSet(name="few", prompts=tuple(prompt for prompt in every.prompts if prompt.question_id < "q08"))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PERSONASCOPE_CACHE", str(tmp_path / "weights"))


def request(name, lake, folder, models, settings, **changes):
    kind: Any = {"train-sae": TrainSae, "features": Features}[name]
    resolved, _ = resolve_settings(extractor(name), {"command line": settings})
    return run(kind(resolved, Job(lake=lake, models=models, checkpoint=resolve(folder, name="random"), **{"say": lambda line: None} | changes)))


def test_what_was_trained_is_recorded_and_found_by_features(tmp_path, random_checkpoint, models, prompts, cache):
    lake = Lake.open(tmp_path / "lake")
    run_id = request("train-sae", lake, random_checkpoint, models, SMALL | {"layers": [0, -1]}, prompts=prompts)
    rows: Any = pl.DataFrame(lake.read(run_id, "sae"))
    assert rows.select("layer", "site", "format", "architecture", "k", "n_features", "d_model", "inference").rows() == [
        (layer, "resid_post", "personascope", "topk", 4, 48, 32, "topk") for layer in (0, 2)
    ]
    manifest = lake.manifest(run_id)
    assert manifest.kind == "train" and 0 < rows["l0"].max() <= 4 and rows["dead_share"].min() >= 0 and rows["explained_variance"].max() < 1
    assert manifest.summary["explained_variance.2"] == rows["explained_variance"][1]
    folder = cache_root() / "checkpoints" / trained_folder(run_id, 2)
    assert {name: tuple(tensor.shape) for name, tensor in load_file(folder / "sae.safetensors").items()} == {
        "encoder": (48, 32),
        "decoder": (48, 32),
        "b_enc": (48,),
        "b_dec": (32,),
    }
    assert json.loads((folder / "sae.json").read_text())["checkpoint"] == str(random_checkpoint)

    encoded = request("features", lake, random_checkpoint, models, {}, prompts=prompts)
    used = pl.DataFrame(lake.read(encoded, "sae"))
    assert used["sae_id"].to_list() == rows["sae_id"].to_list() and used["l0"].to_list() == rows["l0"].to_list() and set(used["source"]) == {run_id}
    assert lake.manifest(encoded).inputs == [run_id]

    shutil.rmtree(folder)
    with pytest.raises(PersonascopeError, match=rf"the weights of {run_id} are not on this machine .*`extract train-sae --force` trains them again"):
        request("features", lake, random_checkpoint, models, {"strata": ["last"]}, prompts=prompts)
    assert request("train-sae", lake, random_checkpoint, models, SMALL | {"layers": [0, 2]}, prompts=prompts, force=True) == run_id
    assert pl.DataFrame(lake.read(run_id, "sae"))["revision"].to_list() == rows["revision"].to_list()  # the same weights, bit by bit


def test_the_default_width_is_the_models_and_memory_changes_no_number(tmp_path, random_checkpoint, models, prompts, monkeypatch):
    """A layer that does not fit `memory_gib` is read from its file: same run, same weights, nothing left on disk; a layer is mapped, not loaded."""
    said: list[str] = []
    kept = []
    settings = {"k": 4, "steps": 20, "batch_size": 64, "layers": [0, 2]}
    for number, memory in enumerate(("4", "1e-9")):
        monkeypatch.setenv("PERSONASCOPE_CACHE", str(tmp_path / f"weights{number}"))
        lake = Lake.open(tmp_path / str(number))
        run_id = request("train-sae", lake, random_checkpoint, models, settings | {"memory_gib": float(memory)}, prompts=prompts)
        rows = lake.read(run_id, "sae").to_pylist()
        kept.append((run_id, [row["revision"] for row in rows], {row["n_features"] for row in rows}))
        assert not [entry for entry in (cache_root() / "checkpoints").iterdir() if entry.name.startswith("activations")]
    assert kept[0] == kept[1] and kept[0][2] == {4 * 32}
    few, _ = resolve_settings(extractor("train-sae"), {"command line": settings | {"n_features": 24}})
    run(TrainSae(few, Job(lake=lake, models=models, checkpoint=resolve(random_checkpoint, name="random"), prompts=prompts, say=said.append)))
    assert "24 features are fewer than the 32 dimensions of random" in said[0]
    np.arange(12, dtype=np.float32).tofile(tmp_path / "layer-0003.f32")
    pools = [staged_pool(tmp_path, 3, 3, torch.tensor([2, 0, 3, 1]), bytes_) for bytes_ in (48, 47)]
    assert [isinstance(pool.data, np.memmap) for pool in pools] == [False, True]
    for pool in pools:
        assert pool.part(torch.tensor([True, False, True, True])).take(torch.tensor([2, 0])).tolist() == [[3, 4, 5], [6, 7, 8]]
        assert pool.moments()[0].tolist() == [4.5, 5.5, 6.5] and pool.moments()[1] == pytest.approx(3 * 45)


def test_another_seed_trains_another_autoencoder(tmp_path, random_checkpoint, models, prompts, cache):
    lake = Lake.open(tmp_path / "lake")
    runs = [request("train-sae", lake, random_checkpoint, models, SMALL | {"layers": [1]}, prompts=prompts, seed=seed) for seed in (1, 2)]
    one, other = (lake.read(run_id, "sae").to_pylist()[0] for run_id in runs)
    assert one["revision"] != other["revision"] and one["sae_id"] != other["sae_id"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": [7]}, "train-sae: layer 7 is not in checkpoint random; expected 0 to 2"),
        ({"layers": []}, "setting 'layers' is \\[\\]"),
        ({"k": 48}, "k is 48; expected less than the 48 features"),
        ({"lr": 1e30}, "layer 0 gives no finite reconstruction|holds numbers that are not finite"),
    ],
)
def test_bad_settings_are_named(tmp_path, random_checkpoint, models, prompts, cache, settings, message):
    lake = Lake.open(tmp_path / "lake")
    with pytest.raises(PersonascopeError, match=message):
        request("train-sae", lake, random_checkpoint, models, SMALL | {"layers": [0]} | settings, prompts=prompts)
    with pytest.raises(PersonascopeError, match="no texts to train on"):
        request("train-sae", lake, random_checkpoint, models, SMALL)
    assert lake.run_ids() == []
