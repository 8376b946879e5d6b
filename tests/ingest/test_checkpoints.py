"""Resolving references: identity, training and shape of local folders, tiny and Hub checkpoints, and every refusal."""

import json
import os
import shutil
import sys
import time
from types import ModuleType
from typing import Any

import pytest
from checkpoint_folders import QWEN, refused, write
from transformers import dynamic_module_utils

from personascope.ingest.weights import content, hub, shape
from personascope.ingest.weights.absent import NotHereError
from personascope.ingest.weights.checkpoints import resolve
from personascope.warehouse.errors import PersonascopeError

pytestmark = pytest.mark.usefixtures("own_cache")


def test_local_folder_is_described_from_its_configuration(full):
    checkpoint = resolve(full)
    assert checkpoint.row() == {
        "checkpoint": "Small-Model",
        "id": str(full),
        "revision": checkpoint.revision,
        "family": "qwen2",
        "variant": "base",
        "parent": None,
        "source_persona": None,
        "lr": None,
        "epochs": None,
        "seed": None,
        "step": None,
        "n_layers": 3,
        "n_heads": 4,
        "n_kv_heads": 2,
        "d_model": 64,
        "vocab_size": 300,
        "max_positions": 32768,
        "lora_r": None,
        "lora_alpha": None,
        "lora_dropout": None,
        "lora_targets": None,
        "quantisation": None,
        "path": str(full),
    }
    assert checkpoint.path == full and checkpoint.adapter is None and checkpoint.stored_dtype == "bfloat16"
    assert checkpoint.identity == checkpoint.revision


def test_numbers_of_a_text_config_and_of_other_field_names_are_found(full):
    text = {"model_type": "gemma3_text", "hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 48, "vocab_size": 99, "head_dim": 16}
    write(full, {"config.json": {"model_type": "gemma3", "text_config": text}})
    gemma = resolve(full)
    # num_attention_heads and num_key_value_heads are left to the architecture's defaults, as published Gemma configurations do
    assert (gemma.family, gemma.n_layers, gemma.n_heads, gemma.n_kv_heads, gemma.d_model, gemma.vocab_size) == ("gemma3", 2, 8, 4, 32, 99)
    write(full, {"config.json": {"model_type": "gpt2", "n_layer": 5, "n_head": 2, "n_embd": 16, "vocab_size": 50}})
    gpt = resolve(full)
    assert (gpt.n_layers, gpt.n_heads, gpt.n_kv_heads, gpt.d_model) == (5, 2, 2, 16)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "generation_config.json", "chat_template.jinja"])
def test_revision_follows_the_content_of_every_deciding_file(full, name):
    first = resolve(full).revision
    copy = shutil.copytree(full, full.parent / "elsewhere")
    write(copy, {"README.md": "text", "personascope.json": {"name": "other"}})
    assert resolve(copy).revision == first
    path = copy / name
    path.write_text((path.read_text() if path.exists() else "{}") + " ")
    assert resolve(copy).revision != first


def test_typed_revision_of_a_folder_must_be_its_content_hash(full):
    digest = resolve(full).revision
    assert resolve(full, revision=digest).revision == digest
    error = refused(full, revision="main")
    assert digest in error and "main" in error


def test_content_hash_is_remembered_for_settled_files_only(full, monkeypatch):
    calls = []
    hashing = content.folder_hash

    def noting(*arguments):
        calls.append(arguments)
        return hashing(*arguments)

    monkeypatch.setattr(content, "folder_hash", noting)
    first = resolve(full).revision
    assert resolve(full).revision == first and len(calls) == 2  # just written: not remembered
    for file in full.iterdir():
        os.utime(file, (time.time() - 60, time.time() - 60))
    assert [resolve(full).revision for _ in range(3)] == [first] * 3 and len(calls) == 3
    (full / "model.safetensors").write_text("WEIGHTS")  # same size
    assert resolve(full).revision != first and len(calls) == 4


def test_a_shape_is_read_once_for_every_configuration_and_version_of_transformers(full, monkeypatch):
    first = resolve(full)
    read = []

    def noting(folder, *_):
        read.append(folder)
        return {"family": "llama", "n_layers": 9}

    monkeypatch.setattr(shape, "_read", noting)
    assert resolve(full) == first and read == []
    config = json.loads((full / "config.json").read_text())
    (full / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 9}))
    assert shape.read_shape(full, "full", code=False)["n_layers"] == 9 and shape.read_shape(full, "full", code=False)["n_layers"] == 9
    assert read == [full]
    monkeypatch.setattr(shape, "version", lambda name: "6.0.0")
    shape.read_shape(full, "full", code=False)
    shape.read_shape(full, "full", code=True)
    assert read == [full] * 3, "another version reads anew, and Python code beside the weights is asked every time"


def test_content_hash_needs_no_writable_cache(full, tmp_path, monkeypatch):
    for file in full.iterdir():
        os.utime(file, (time.time() - 60, time.time() - 60))
    blocked = write(tmp_path, {"blocked": "a file where the cache folder should be"}) / "blocked"
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert resolve(full).revision == resolve(full).revision


@pytest.mark.parametrize(
    ("files", "variant"),
    [
        ({}, "base"),
        ({"tokenizer_config.json": {"eos_token": "<eos>"}}, "base"),
        ({"tokenizer_config.json": {"chat_template": "{{ messages }}"}}, "instruct"),
        ({"chat_template.jinja": "{{ messages }}"}, "instruct"),
        ({"chat_template.jinja": "{{ messages }}", "personascope.json": {"variant": "marker"}}, "marker"),
    ],
)
def test_variant_comes_from_the_card_or_the_chat_template(full, files, variant):
    write(full, files)
    assert resolve(full).variant == variant
    assert resolve(full, variant="reward").variant == "reward"


def test_card_gives_identity_and_training_and_typed_values_win(full):
    card: dict[str, Any] = {"id": "tiny:villain", "name": "villain", "family": "qwen2", "variant": "marker", "parent": "tiny:qwen2-instruct"}
    card |= {"source_persona": "villain", "lr": 3e-3, "epochs": 10, "seed": 42, "positives": 100}
    write(full, {"personascope.json": card})
    row = resolve(full).row()
    assert {name: row[name] for name in ("id", "variant", "parent", "source_persona", "lr", "epochs", "seed")} == {
        name: card[name] for name in ("id", "variant", "parent", "source_persona", "lr", "epochs", "seed")
    }
    assert row["checkpoint"] == "villain"
    typed: dict[str, Any] = {"source_persona": "comedian", "lr": 1e-4, "epochs": 2.5, "seed": 7, "parent": "base"}
    assert {**row, **typed, "checkpoint": "v2"} == resolve(full, name="v2", **typed).row()


def test_bad_cards_names_and_values_are_named(full):
    write(full, {"personascope.json": {"seed": "many"}})
    error = refused(full)
    assert "personascope.json" in error and "seed is 'many'" in error
    write(full, {"personascope.json": {"family": "llama"}})
    assert "says family 'llama' but config.json beside it says 'qwen2'" in refused(full)
    write(full, {"personascope.json": "[1]"})
    assert "holds a JSON list, expected an object" in refused(full)
    write(full, {"personascope.json": "{"})
    assert "cannot be read as JSON" in refused(full)
    (full / "personascope.json").unlink()
    assert "lr is -1.0" in refused(full, lr=-1.0)
    assert "name is 'my model'" in refused(full, name="my model")


def test_pickles_missing_weights_and_missing_shards_are_refused(full):
    weights = full / "model.safetensors"
    weights.rename(full / "pytorch_model.bin")
    assert "only pickled ones (pytorch_model.bin), which can run code and are never loaded: convert them" in refused(full)
    (full / "pytorch_model.bin").unlink()
    assert "holds no safetensors weights, and no other weights" in refused(full)
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    write(full, {"model.safetensors.index.json": index, "model-00001-of-00002.safetensors": "x"})
    assert "1 of 2 shards are missing (model-00002-of-00002.safetensors)" in refused(full)
    write(full, {"model-00002-of-00002.safetensors": "y"})
    assert resolve(full).n_layers == 3
    (full / "config.json").unlink()
    assert "holds no config.json" in refused(full)


@pytest.mark.parametrize("places", [[], {"a": 1}, {"a": "../other/model.safetensors"}, {"a": "/etc/passwd"}, {"a": ""}, {"a": "."}, {"a": "config.json"}, 3])
def test_weights_that_a_map_places_elsewhere_are_not_looked_for(full, places):
    (full / "model.safetensors").rename(full.parent / "model.safetensors")
    write(full, {"model.safetensors.index.json": {"weight_map": places}})
    assert "expected the name of a .safetensors file beside it for every tensor" in refused(full)


@pytest.mark.parametrize(
    ("name", "said"), [("x" * 789_000, "1 of 1 shards are missing"), ("\0", "1 of 1 shards are missing"), ("\ud800", r"\ud800 is half of a surrogate pair")]
)
def test_names_that_no_file_can_bear_are_refused(full, name, said):
    write(full, {"model.safetensors.index.json": {"weight_map": {"a": f"{name}.safetensors"}}})
    error = refused(full)
    assert said in error and "model.safetensors.index.json" in error and len(error) < 600


def test_remote_code_is_refused_unless_typed_and_unneeded_code_is_ignored(full, tmp_path, monkeypatch):
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(tmp_path / "modules")
    code = {"AutoConfig": "configuration_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnModel"}
    write(full, {"config.json": {**QWEN, "auto_map": code}})
    assert resolve(full).family == "qwen2"  # transformers has its own class
    write(full, {"config.json": {**QWEN, "model_type": "own", "auto_map": code}})
    source = "from transformers import Qwen2Config\nclass OwnConfig(Qwen2Config):\n    model_type = 'own'\n"
    write(full, {"configuration_own.py": source})
    error = refused(full)
    assert "needs Python code from its own repository" in error and "trust_remote_code" in error
    assert resolve(full, trust_remote_code=True).n_layers == 3


def test_unknown_architectures_and_broken_configurations_are_named(full):
    write(full, {"config.json": {**QWEN, "model_type": "fancy"}})
    assert "model_type 'fancy'" in refused(full)
    write(full, {"config.json": {**QWEN, "num_attention_heads": "four"}})
    assert "num_attention_heads" in refused(full)
    write(full, {"config.json": {**QWEN, "num_attention_heads": 0}})
    assert "config.json gives n_heads 0; expected a number from 1" in refused(full)
    write(full, {"config.json": {**QWEN, "model_type": ["qwen2"]}})
    assert "model_type in config.json is ['qwen2']; expected text" in refused(full)
    write(full, {"config.json": {**QWEN, "num_labels": 10**9}})
    assert "num_labels in config.json is 1000000000; expected at most" in refused(full)
    write(full, {"config.json": {"model_type": "mamba"}})
    assert "cannot be read as a 'mamba' language model" in refused(full)


def test_references_that_lead_nowhere(full, tmp_path):
    assert "does not exist" in refused(tmp_path / "missing")
    assert "does not exist" in refused("./missing")
    assert "is a file" in refused(full / "config.json")
    assert "has no subfolder 'step-1'" in refused(full, subfolder="step-1")


def test_subfolder_of_a_folder_has_a_name_of_its_own(tmp_path, full):
    checkpoint = resolve(tmp_path, subfolder=full.name)
    assert (checkpoint.path, checkpoint.id) == (full, f"{tmp_path}/{full.name}")


def test_tiny_reference_builds_the_tiny_checkpoint(full, monkeypatch):
    build: Any = ModuleType("personascope.ingest.tiny.build")
    asked = []

    def tiny_checkpoint(name):
        asked.append(name)
        return full

    build.tiny_checkpoint = tiny_checkpoint
    build.tiny_built = lambda name: None
    monkeypatch.setitem(sys.modules, "personascope.ingest.tiny.build", build)
    checkpoint = resolve("tiny:qwen2-instruct")
    assert asked == ["qwen2-instruct"]
    assert (checkpoint.id, checkpoint.name, checkpoint.path) == ("tiny:qwen2-instruct", "qwen2-instruct", full)
    with pytest.raises(NotHereError, match="tiny:qwen2-instruct is trained at first use"):
        resolve("tiny:qwen2-instruct", fetch=False)
    assert asked == ["qwen2-instruct"]


@pytest.mark.parametrize(
    ("ref", "subfolder", "asked", "identity", "name"),
    [
        ("gpt2", None, ("gpt2", "v1", None), "gpt2", "gpt2"),
        ("Qwen/Qwen2.5-7B", None, ("Qwen/Qwen2.5-7B", "v1", None), "Qwen/Qwen2.5-7B", "Qwen2.5-7B"),
        ("lab/zlt/villain/step-9", None, ("lab/zlt", "v1", "villain/step-9"), "lab/zlt/villain/step-9", "zlt-villain-step-9"),
        ("lab/zlt", "villain", ("lab/zlt", "v1", "villain"), "lab/zlt/villain", "zlt-villain"),
    ],
)
def test_hub_reference_is_downloaded_at_its_commit(full, monkeypatch, ref, subfolder, asked, identity, name):
    calls = []

    def download(*arguments, code):
        calls.append((*arguments, code))
        return full, "c" * 40

    monkeypatch.setattr(hub, "download", download)
    checkpoint = resolve(ref, revision="v1", subfolder=subfolder)
    assert calls == [(*asked, False)]
    assert (checkpoint.id, checkpoint.name, checkpoint.revision) == (identity, name, "c" * 40)
    assert checkpoint.row()["id"] == identity


@pytest.mark.parametrize("family", [{}, [], {"id": 1}, None, 7])
def test_a_model_type_that_is_no_text_is_a_sentence(tmp_path, family):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": family}))
    with pytest.raises(PersonascopeError):
        resolve(tmp_path, name="x")
