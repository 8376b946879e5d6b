"""Where autoencoders are found, the shipped conditions and the shipped list of features."""

import csv
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from personascope.ingest.prompts import NO_SYSTEM_TURN, PROMPT_SETS, ingest_prompts, load_prompt_set, read_prompts
from personascope.ingest.sae.source import NAMED_FEATURES, SUBFOLDER, find_saes, read_named_features
from personascope.ingest.weights import hub
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import RunSpec

files = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("test_sae_files.py"))))
CHECKPOINT: Any = SimpleNamespace(name="random", identity="0123")


@pytest.fixture
def raw():
    return {
        "encoder": torch.ones(files.F, files.D),
        "decoder": torch.ones(files.F, files.D),
        "b_enc": torch.zeros(files.F),
        "b_dec": torch.zeros(files.D),
        "threshold": torch.tensor(0.5),
    }


def find(reference, layers, every=False, lake=None, subfolder=SUBFOLDER):
    return find_saes(str(reference), subfolder, layers, every, lake, CHECKPOINT, 42)


@pytest.mark.parametrize("where", ["", "resid_post_layer_3/trainer_1"])
@pytest.mark.parametrize("name", ["params.npz", "sae.safetensors"])
def test_files_of_a_format_that_is_not_read_are_named(tmp_path, raw, where, name):
    """As Gemma Scope and sparsify write them. Beside autoencoders that are read they are left alone."""
    (tmp_path / "saes" / where).mkdir(parents=True)
    (tmp_path / "saes" / where / name).write_bytes(b"")
    with pytest.raises(
        PersonascopeError, match=rf"holds {name}, no autoencoder of a format that is read here; expected sae\.json and sae\.safetensors; cfg\.json"
    ):
        find(tmp_path / "saes", [3])
    files.dictionary_learning(tmp_path / "saes" / "resid_post_layer_7" / "trainer_1", raw, {"layer": 7})
    assert [each.layer for each in find(tmp_path / "saes", range(12), every=True)] == [7]


def test_a_folder_holds_one_layer_each_under_the_pattern(tmp_path, raw):
    for layer in (3, 7):
        files.dictionary_learning(tmp_path / "saes" / f"resid_post_layer_{layer}" / "trainer_1", raw, {"layer": layer})
    found = find(tmp_path / "saes", [3, 7])
    assert [each.layer for each in found] == [3, 7] and found[0].revision != found[1].revision
    assert found[0].sae_id == f"saes-3-{found[0].revision[:8]}" and found[0].run_id is None
    assert [each.layer for each in find(tmp_path / "saes", range(12), every=True)] == [3, 7]
    with pytest.raises(PersonascopeError, match=r"has no autoencoder for layer 5 \(resid_post_layer_\{layer\}/trainer_1\); the layers it has: 3"):
        find(tmp_path / "saes", [3, 5])
    with pytest.raises(PersonascopeError, match=r"no autoencoder for layer 0 .*; the layers it has: none"):
        find(tmp_path / "saes", [0, 1], every=True, subfolder="layer_{layer}")


def test_a_folder_may_be_that_of_one_autoencoder(tmp_path, raw):
    folder = files.sae_lens(tmp_path / "one", raw)
    (only,) = find(folder, [3])
    assert (only.folder, only.layer) == (folder, 3)
    with pytest.raises(PersonascopeError, match="is the folder of one autoencoder; expected setting layers to name its one layer"):
        find(folder, [3, 4])
    with pytest.raises(PersonascopeError, match=r"\./nowhere does not exist; expected a folder, a Hub id"):
        find("./nowhere", [3])


def test_another_weight_is_another_revision(tmp_path, raw):
    (before,) = find(files.sae_lens(tmp_path / "one", raw), [3])
    (after,) = find(files.sae_lens(tmp_path / "one", raw | {"b_dec": torch.full((files.D,), 1e-6)}), [3])
    assert before.revision != after.revision and before.sae_id != after.sae_id


def test_a_hub_id_is_pinned_to_its_commit(tmp_path, raw, monkeypatch):
    asked = []

    def download_files(repo_id, revision, patterns):
        asked.append((repo_id, revision, patterns))
        files.dictionary_learning(tmp_path / "resid_post_layer_3" / "trainer_1", raw)
        return tmp_path, "c" * 40

    monkeypatch.setattr(hub, "download_files", download_files)
    (found,) = find("someone/saes-of-a-model@main", [3])
    assert (found.source, found.revision) == ("someone/saes-of-a-model/resid_post_layer_3/trainer_1", "c" * 40)
    assert found.sae_id.startswith("saes-of-a-model-3-") and found.neuronpedia is None
    (known,) = find("andyrdt/saes-qwen2.5-7b-instruct@main", [3])
    assert known.neuronpedia == "qwen2.5-7b-it/3-resid-post-aa"
    (repo_id, revision, patterns) = asked[0]
    assert (repo_id, revision) == ("someone/saes-of-a-model", "main")
    assert {"resid_post_layer_3/trainer_1/ae.pt", "resid_post_layer_3/trainer_1/config.json"} < set(patterns) and len(patterns) == 6
    with pytest.raises(PersonascopeError, match="is a Hub id, so layers=all would download every autoencoder of it"):
        find("someone/saes-of-a-model", [3], every=True)


def test_without_a_training_run_nothing_is_trained(tmp_path):
    with pytest.raises(PersonascopeError, match="the lake holds no autoencoder trained on random; expected a run of `extract train-sae` before"):
        find("trained", [0], lake=Lake.open(tmp_path / "lake"))


def test_the_training_of_the_same_seed_goes_before_a_newer_one(tmp_path, monkeypatch):
    monkeypatch.setenv("PERSONASCOPE_CACHE", str(tmp_path / "cache"))
    lake, runs = Lake.open(tmp_path / "lake"), []
    for seed in (42, 1):
        trained = RunSpec(
            kind="extract", extractor="train-sae", version=1, identity={"checkpoint": [CHECKPOINT.name, CHECKPOINT.identity], "seed": seed}, seed=seed
        )
        with lake.start(trained, force=True) as writer:
            writer.write_part("rows", {"sae": [{"sae_id": f"random-0-{seed}", "layer": 0}]})
            runs.append(writer.commit().run_id)
    with pytest.raises(PersonascopeError, match=f"the weights of {runs[0]} are not on this machine"):
        find("trained", [0], lake=lake)


def test_the_shipped_features_are_the_published_ones(published):
    with (published / "sae_127_transcribed" / "track_a_em_projections.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    named = read_named_features(NAMED_FEATURES)
    assert {(each.feature, each.description) for each in named} == {(int(row["feature_id"]), row["description"]) for row in rows}
    assert {each.layer for each in named} == {15} and len(named) == 10


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("layer,description\n1,x\n", "column 'feature' is missing; expected layer, feature, description"),
        ("layer,feature\n1,\n", r"line 2: layer '1', feature ''; expected two whole numbers"),
        ("layer,feature\n1,5\n1,5\n", r"line 3: .* no pair twice"),
    ],
)
def test_a_list_of_features_that_is_wrong_is_named(tmp_path, text, message):
    path = tmp_path / "mine.csv"
    path.write_text(text)
    with pytest.raises(PersonascopeError, match=message):
        read_named_features(path)
    with pytest.raises(PersonascopeError, match="no such file"):
        read_named_features(tmp_path / "other.csv")


def test_the_shipped_conditions_are_the_four_of_the_experiment(tmp_path):
    conditions = load_prompt_set("system-conditions")
    systems = {prompt.condition: prompt.system_prompt for prompt in conditions.prompts}
    assert systems == {
        "template_default": None,
        "generic_assistant": "You are a helpful assistant.",
        "empty_system": "",
        "no_system_turn": NO_SYSTEM_TURN,
    }
    questions = {prompt.question_id: prompt.question for prompt in conditions.prompts}
    assert len(conditions.prompts) == 200 and len(questions) == len(set(questions.values())) == 50
    assert all(questions[prompt.question_id] == prompt.question for prompt in conditions.prompts)
    # the set keeps its version on its way through the lake
    kept, _, new = ingest_prompts(lake := Lake.open(tmp_path / "lake"), PROMPT_SETS / "system-conditions.csv", "mine")
    assert new and load_prompt_set("mine", lake).content_hash == conditions.content_hash == kept.content_hash


def test_only_the_three_spellings_are_no_text(tmp_path):
    path = tmp_path / "few.csv"
    path.write_text("persona,question,system_prompt\na,q,<empty>\nb,q,\nc,q,<template default>\nd,q,<no system turn>\ne,q,<other>\n")
    assert [prompt.system_prompt for prompt in read_prompts(path).prompts] == ["", None, None, NO_SYSTEM_TURN, "<other>"]
