"""Adapters of every kind: merged weights give the logits of the adapter applied unmerged, or the adapter is refused; vLLM reads the same model or none."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, LoraModel, PeftModel, PrefixTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from personascope.extract.weights import adapters
from personascope.extract.weights.adapters import refuse_beside_plain
from personascope.extract.weights.loading import load_model
from personascope.extract.weights.on_device import Models
from personascope.ingest.weights.checkpoints import resolve
from personascope.study.options import RunOptions, parse_checkpoints
from personascope.study.state import StudyState
from personascope.study.workbench import find
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.settings import Parameter
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.studies.model import CheckpointSource, StudyFile
from random_models import byte_tokenizer

IDS = torch.tensor([[5, 70, 33, 2, 9, 100, 41]])
PLAIN = ["q_proj", "down_proj"]


@pytest.fixture(scope="module")
def bases(tmp_path_factory) -> Path:
    """Random models with tied embeddings, and one whose linear layers lie the other way round."""
    root = tmp_path_factory.mktemp("bases")
    shape = {"vocab_size": 264, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 32, "intermediate_size": 48}
    configs = {
        "qwen2": AutoConfig.for_model("qwen2", **shape, tie_word_embeddings=True, max_position_embeddings=64, initializer_range=0.2),
        "gpt2": AutoConfig.for_model("gpt2", vocab_size=264, n_layer=2, n_head=4, n_embd=32, n_positions=64, initializer_range=0.2),
    }
    for name, config in configs.items():
        torch.manual_seed(3)
        AutoModelForCausalLM.from_config(config).save_pretrained(root / name)
        byte_tokenizer().save_pretrained(root / name)
    return root


def made(base: Path, to: Path, config) -> Path:
    """An adapter whose every trained number is visible, saved as PEFT saves it."""
    torch.manual_seed(9)
    wrapped = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    for parameter in wrapped.parameters():
        if parameter.requires_grad:
            parameter.data += torch.randn_like(parameter) * 0.1
    wrapped.save_pretrained(str(to))
    return to


def lora(**options) -> LoraConfig:
    chosen: dict[str, Any] = {"r": 4, "lora_alpha": 8, "target_modules": PLAIN} | options
    return LoraConfig(task_type="CAUSAL_LM", **chosen)


def edit(adapter: Path, **fields) -> Path:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    return adapter


def refused(call, *arguments, **options) -> str:
    with pytest.raises(PersonascopeError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


KINDS: dict[str, dict[str, Any]] = {
    "head": {"target_modules": ["lm_head", "q_proj"]},
    "embeddings": {"target_modules": ["embed_tokens", "q_proj"]},
    "both": {"target_modules": ["embed_tokens", "lm_head"]},
    "tied": {"target_modules": ["embed_tokens"], "ensure_weight_tying": True},
    "saved-head": {"modules_to_save": ["lm_head"]},
    "saved-embeddings": {"modules_to_save": ["embed_tokens"]},
    "tokens": {"trainable_token_indices": [5, 70]},
    "rslora": {"use_rslora": True, "target_modules": ["lm_head", *PLAIN]},
    "dora": {"use_dora": True, "target_modules": ["lm_head", *PLAIN]},
    "patterns": {"alpha_pattern": {"q_proj": 32}, "rank_pattern": {"down_proj": 2, "lm_head": 3}, "target_modules": ["lm_head", *PLAIN]},
    "bias": {"bias": "all", "target_modules": ["q_proj"]},
    "lora-bias": {"lora_bias": True, "target_modules": ["q_proj"]},
    "conv": {"fan_in_fan_out": True, "target_modules": ["c_attn", "wte", "lm_head"]},
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_merged_weights_are_the_model_that_peft_applies(bases, tmp_path, kind):
    folder = bases / ("gpt2" if kind == "conv" else "qwen2")
    adapter = made(folder, tmp_path / kind, lora(**KINDS[kind]))
    models = Models("cpu")
    loaded = models.load(checkpoint := resolve(adapter))
    base = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        plain = base(IDS).logits
        unmerged = PeftModel.from_pretrained(base, adapter).eval()(IDS).logits
        merged = loaded.model(IDS).logits
    assert (unmerged - plain).abs().max() > 0.1  # the adapter does something
    torch.testing.assert_close(merged, unmerged, rtol=0, atol=1e-4)
    assert models.merge_figures(checkpoint, None) == {f"merge_difference.{kind}": loaded.merge_difference}
    assert loaded.merge_difference is not None and loaded.merge_difference < 1e-4


@pytest.mark.filterwarnings("ignore")
def test_a_merge_may_differ_by_what_the_model_makes_of_rounding_and_by_no_more(bases, tmp_path, monkeypatch):
    adapter = made(bases / "qwen2", tmp_path / "head", lora(target_modules=["lm_head", *PLAIN]))
    monkeypatch.setattr(adapters, "LIMIT", 0.0)
    monkeypatch.setattr(adapters, "ROUND_OFFS", 0)
    difference = load_model(resolve(adapter), device="cpu", dtype="float32").merge_difference
    assert difference and 0 < difference < 1e-4
    merge = LoraModel.merge_and_unload

    def slightly_wrong(wrapped, **choices):
        merged: Any = merge(wrapped, **choices)
        with torch.no_grad():
            merged.get_output_embeddings().weight *= 1.0002
        return merged

    monkeypatch.setattr(LoraModel, "merge_and_unload", slightly_wrong)
    assert "logits that differ from those of the adapter applied by PEFT by up to" in refused(load_model, resolve(adapter), device="cpu", dtype="float32")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_merge_into_another_model_is_refused(bases, tmp_path, monkeypatch, dtype):
    adapter = made(bases / "qwen2", tmp_path / "head", lora(target_modules=["lm_head"]))
    assert load_model(resolve(adapter), device="cpu", dtype=dtype).merge_difference is not None
    monkeypatch.setattr(adapters, "_untie", lambda wrapped: None)  # the update of the head goes into the embeddings, too
    assert "cannot be merged: the merged weights give logits that differ" in refused(load_model, resolve(adapter), device="cpu", dtype=dtype)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"target_modules": "("}, "is '(', which is no pattern (missing ), unterminated subpattern at position 0)"),
        ({"target_modules": "(.*)*(.*)*(.*)*x$"}, "expected a short pattern without a group that is repeated"),
        ({"target_modules": "q_proj", "rank_pattern": {"(a|a)+$": 4}}, "rank_pattern in adapter_config.json is '(a|a)+$'; expected a short pattern"),
    ],
)
def test_a_pattern_that_is_none_or_never_ends_is_refused(bases, tmp_path, fields, words):
    adapter = made(bases / "qwen2", tmp_path / "adapter", lora(target_modules=["q_proj"]))
    assert words in refused(load_model, resolve(edit(adapter, **fields)), device="cpu")


@pytest.mark.filterwarnings("ignore")
def test_adapters_that_no_weights_can_hold_are_refused_by_name(bases, tmp_path):
    plain = made(bases / "qwen2", tmp_path / "plain", lora())
    activated = edit(plain, alora_invocation_tokens=[5, 6])
    assert "activated LoRA (alora_invocation_tokens" in refused(load_model, resolve(activated), device="cpu")
    repeating = edit(plain, alora_invocation_tokens=None, layer_replication=[[0, 2], [0, 2]])
    assert "repeats layers of its base (layer_replication" in refused(load_model, resolve(repeating), device="cpu")
    biased = made(bases / "qwen2", tmp_path / "biased", lora(lora_bias=True, target_modules=["lm_head"]))
    assert "cannot be merged (Impossible to merge LoRA with `lora_bias=True`" in refused(load_model, resolve(biased), device="cpu")
    prefix = made(bases / "qwen2", tmp_path / "prefix", PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4))
    assert "peft_type in adapter_config.json is 'PREFIX_TUNING', expected 'LORA'" in refused(resolve, prefix)


@pytest.mark.parametrize(
    "fields",
    [
        {"use_dora": True},
        {"alpha_pattern": {"q_proj": 32}},
        {"rank_pattern": {"q_proj": 2}},
        {"modules_to_save": ["lm_head"]},
        {"bias": "all"},
        {"lora_bias": True},
        {"fan_in_fan_out": True},
        {"peft_type": "LOHA"},
        {"init_lora_weights": "pissa"},
        {"alora_invocation_tokens": [5]},
        {"trainable_token_indices": [5]},
    ],
)
def test_vllm_is_refused_an_adapter_that_it_would_apply_otherwise(bases, tmp_path, fields):
    adapter = made(bases / "qwen2", tmp_path / "plain", lora())
    refuse_beside_plain(adapter, "plain")
    error = refused(refuse_beside_plain, edit(adapter, **fields), "plain")
    assert next(iter(fields)) in error and "--engine hf" in error


@pytest.mark.filterwarnings("ignore")
def test_vllm_is_refused_an_adapter_of_the_embeddings(bases, tmp_path):
    adapter = made(bases / "qwen2", tmp_path / "head", lora(target_modules=r".*(q_proj|lm_head)"))
    assert "lm_head" in refused(refuse_beside_plain, adapter, "head")
    weights = {key: value for key, value in load_file(adapter / "adapter_model.safetensors").items() if "lm_head" not in key}
    save_file(weights, adapter / "adapter_model.safetensors")
    refuse_beside_plain(adapter, "head")


@pytest.mark.slow(2)
def test_the_base_of_an_adapter_from_another_machine_is_given_by_hand_and_recorded(random_checkpoint, tmp_path, personascope, monkeypatch):
    monkeypatch.setattr("personascope.warehouse.asking.catalogue.build", lambda lake: None)
    adapter = edit(made(random_checkpoint, tmp_path / "villain", lora()), base_model_name_or_path="/elsewhere/base")
    command = ["extract", "capability", "--checkpoint", adapter, "--set", "task=tiny-world", "--no-track", "--lake", tmp_path / "lake", "--device", "cpu"]
    code, _, error = personascope(*command)
    assert code == 1 and "/elsewhere/base" in error and "--base" in error
    code, run_id, error = personascope(*command, "--base", random_checkpoint)
    assert code == 0, error
    manifest = Lake.open(tmp_path / "lake").manifest(run_id.strip())
    assert Parameter(name="base", value=str(random_checkpoint), origin="command line") in manifest.parameters
    assert manifest.summary["merge_difference.villain"] < 1e-4


def test_a_study_says_the_base_of_its_adapters_and_the_command_line_wins(random_checkpoint, tmp_path):
    adapter = edit(made(random_checkpoint, tmp_path / "villain", lora()), base_model_name_or_path="/elsewhere/base")
    sources = {"villain": CheckpointSource(id=str(adapter), base="tiny:elsewhere"), "plain": CheckpointSource(id=str(random_checkpoint))}
    study = StudyFile(name="s", title="t", about="a", checkpoints=sources, views=[])
    state = StudyState(study, tmp_path / "lake")
    assert state.base_parameters("villain", "plain", None) == [Parameter(name="base.villain", value="tiny:elsewhere", origin="study file")]
    typed = parse_checkpoints([], study, [f"villain={random_checkpoint}"])
    state = StudyState(study, tmp_path / "lake", RunOptions(checkpoints=typed))
    assert state.base_parameters("villain") == [Parameter(name="base.villain", value=str(random_checkpoint), origin="command line")]
    assert find("villain", state.sources["villain"]).path == random_checkpoint
    assert "did you mean 'villain'" in refused(parse_checkpoints, [], study, [f"vilain={random_checkpoint}"])
    assert "expected NAME=ID" in refused(parse_checkpoints, [], study, ["villain"])
