"""Resolving adapters: their shape, identity and base, and which are refused."""

import json

import pytest
from checkpoint_folders import refused, write

from personascope.ingest.weights import hub
from personascope.ingest.weights.bases import contradicts
from personascope.ingest.weights.checkpoints import Checkpoint, resolve
from personascope.warehouse.errors import PersonascopeError

pytestmark = pytest.mark.usefixtures("own_cache")


def test_adapter_takes_shape_from_its_base_and_identity_from_itself(full, lora):
    write(lora, {"personascope.json": {"source_persona": "villain", "lr": 1e-3, "variant": "marker"}})
    base, adapter = resolve(full), resolve(lora)
    assert (adapter.path, adapter.adapter, adapter.parent, adapter.parent_revision) == (full, lora, str(full), base.revision)
    assert (adapter.n_layers, adapter.family, adapter.stored_dtype) == (3, "qwen2", "bfloat16")
    assert (adapter.name, adapter.source_persona, adapter.lr, adapter.variant) == ("villain", "villain", 1e-3, "marker")
    assert adapter.revision != base.revision and adapter.row()["path"] == str(lora)
    assert adapter.tokenizer_path == full
    write(lora, {"tokenizer.json": "{}"})
    assert resolve(lora).tokenizer_path == lora


def test_adapter_identity_changes_with_its_base(full, lora):
    before = resolve(lora)
    write(full, {"model.safetensors": "other weights"})
    after = resolve(lora)
    assert after.revision == before.revision and after.identity != before.identity


def test_adapter_without_its_own_template_inherits_the_variant(full, lora):
    assert resolve(lora).variant == "base"
    write(full, {"chat_template.jinja": "{{ messages }}"})
    assert resolve(lora).variant == "instruct"


def test_base_of_an_adapter_is_found_beside_it_or_typed(full, lora):
    config = {"peft_type": "LORA", "base_model_name_or_path": "../Small Model"}
    write(lora, {"adapter_config.json": config})
    assert resolve(lora).path.resolve() == full
    write(lora, {"adapter_config.json": {**config, "base_model_name_or_path": "/trainer/disk/Small Model"}})
    error = refused(lora)
    assert "/trainer/disk/Small Model" in error and "--base" in error
    assert resolve(lora, base=str(full)).path == full
    write(lora, {"adapter_config.json": {**config, "base_model_name_or_path": "/trainer/disk/run-7"}})
    assert resolve(lora, base=str(full)).path == full
    write(lora, {"adapter_config.json": {"peft_type": "LORA"}})
    assert "names no base model" in refused(lora)
    assert "has no meaning" in refused(full, base=str(full))


@pytest.mark.parametrize(
    ("recorded", "typed", "meant"),
    [
        ("/elsewhere/base", "tiny:qwen2-instruct", True),
        (r"C:\models\base", "Qwen/Qwen2.5-7B-Instruct", True),
        ("unsloth/qwen2.5-7b-instruct-unsloth-bnb-4bit", "Qwen/Qwen2.5-7B-Instruct", True),
        ("unsloth/Qwen2.5-7B-Instruct-bnb-4bit", "/here/any folder", True),
        ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4", "Qwen/Qwen2.5-7B-Instruct@0123abc", True),
        ("/root/.cache/huggingface/hub/models--Qwen--Qwen2.5-7B-Instruct/snapshots/a09a", "Qwen/Qwen2.5-7B-Instruct", True),
        ("/root/.cache/huggingface/hub/models--Qwen--Qwen2.5-7B-Instruct/snapshots/a09a", "Qwen/Qwen2.5-14B-Instruct", False),
        ("unsloth/qwen2.5-7b-instruct-bnb-4bit", "Qwen/Qwen2.5-7B", False),
        ("Qwen/Qwen2.5-7B-Instruct", "meta-llama/Llama-3.1-8B-Instruct", False),
        ("tiny:qwen2-instruct", "tiny:llama-instruct", False),
    ],
)
def test_a_typed_base_is_refused_where_it_is_another_model_by_its_name(recorded, typed, meant):
    assert contradicts(recorded, typed) is not meant


def test_an_adapter_of_a_quantised_copy_asks_for_the_model_it_was_made_from(full, lora):
    config = {"peft_type": "LORA", "base_model_name_or_path": "unsloth/small-model-bnb-4bit"}
    write(lora, {"adapter_config.json": config})
    error = refused(lora)
    assert "unsloth/small-model-bnb-4bit" in error and "quantised copy" in error and "--base" in error
    assert resolve(lora, base=str(full)).path == full
    write(full, {"config.json": {**json.loads((full / "config.json").read_text()), "quantization_config": {"quant_method": "bitsandbytes"}}})
    assert "quantised copy" in refused(lora, base=str(full))


def test_unusable_adapters_are_refused(full, lora, tmp_path):
    good = json.loads((lora / "adapter_config.json").read_text())
    second = write(tmp_path / "second", {"adapter_config.json": {**good, "base_model_name_or_path": str(lora)}, "adapter_model.safetensors": "x"})
    assert "is itself an adapter" in refused(second)
    write(lora, {"adapter_config.json": {**good, "peft_type": "PREFIX_TUNING"}})
    assert "is 'PREFIX_TUNING', expected 'LORA'" in refused(lora)
    write(lora, {"adapter_config.json": good, "model.safetensors": "full weights"})
    assert "unclear which is meant" in refused(lora)
    (lora / "model.safetensors").unlink()
    (lora / "adapter_model.safetensors").rename(lora / "adapter_model.bin")
    assert "only pickled ones (adapter_model.bin)" in refused(lora)


def test_adapter_pins_the_hub_base_its_configuration_names(full, lora, monkeypatch):
    write(lora, {"adapter_config.json": {"peft_type": "LORA", "base_model_name_or_path": "lab/base", "revision": "v3"}})
    calls = []

    def download(*arguments, code):
        calls.append(arguments)
        return full, "d" * 40

    monkeypatch.setattr(hub, "download", download)
    adapter = resolve(lora)
    assert calls == [("lab/base", "v3", None)]
    assert (adapter.parent, adapter.parent_revision) == ("lab/base", "d" * 40)


def test_checkpoint_survives_its_json(lora):
    checkpoint = resolve(lora)
    assert Checkpoint.model_validate_json(checkpoint.model_dump_json()) == checkpoint


@pytest.mark.parametrize("name", ["a" * 300, "a/" * 4000])
def test_a_base_model_with_a_name_that_no_file_system_takes_is_a_sentence(tmp_path, name):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": name}))
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(PersonascopeError, match="its base model has a name of"):
        resolve(tmp_path, name="x")
