"""Loading small random models exactly like real ones: folders, merged adapters, and a sentence for every way in which it can fail."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from personascope.extract.weights.loading import load_model
from personascope.ingest.weights.checkpoints import resolve
from personascope.warehouse.errors import PersonascopeError
from random_models import byte_tokenizer

SHAPES = {
    "qwen2": {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 32},
    "llama": {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4, "hidden_size": 32},
    "deeper": {"num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 32},
    "wider": {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 48},
}
IDS = torch.tensor([[5, 70, 33, 2, 9, 100, 41]])


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """A folder with one saved random model for each shape."""
    root = tmp_path_factory.mktemp("models")
    for seed, (name, shape) in enumerate(SHAPES.items()):
        torch.manual_seed(seed)
        family = "llama" if name == "llama" else "qwen2"
        config = AutoConfig.for_model(family, vocab_size=264, intermediate_size=48, max_position_embeddings=64, initializer_range=0.2, **shape)
        AutoModelForCausalLM.from_config(config).save_pretrained(root / name)
        byte_tokenizer().save_pretrained(root / name)
    return root


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    """A copy of the Qwen2 model that the test may spoil."""
    return shutil.copytree(saved / "qwen2", tmp_path / "qwen2")


def train_adapter(base: Path, to: Path, **options) -> Path:
    """A LoRA adapter on `base` with random, clearly visible updates, saved as peft saves it."""
    torch.manual_seed(9)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "up_proj", "down_proj"], task_type="CAUSAL_LM", **options)
    wrapped = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    wrapped.save_pretrained(str(to))
    return to


def edit(path: Path, **fields) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def refused(*arguments, **options) -> str:
    with pytest.raises(PersonascopeError) as caught:
        load_model(*arguments, **options)
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith(".")
    return sentence


@pytest.mark.parametrize("name", ["qwen2", "llama"])
def test_folder_loads_as_it_was_saved(saved, name):
    loaded = load_model(resolve(saved / name), device="cpu")
    reference = AutoModelForCausalLM.from_pretrained(saved / name)
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(IDS).logits, reference(IDS).logits, rtol=0, atol=0)
    assert (loaded.device, loaded.dtype, loaded.attention) == ("cpu", "float32", "sdpa")
    assert loaded.reasons == ("cpu: as typed", "float32: exact and safe on cpu")
    assert loaded.model.config._attn_implementation == "sdpa"
    assert not loaded.model.training and not any(parameter.requires_grad for parameter in loaded.model.parameters())
    assert loaded.tokenizer.decode(loaded.tokenizer("Ahoy!").input_ids) == "Ahoy!"
    assert loaded.tokenizer.pad_token == "<|endoftext|>"


def test_typed_dtype_and_attention_are_used(saved):
    loaded = load_model(resolve(saved / "qwen2"), device="cpu", dtype="bfloat16", attention="eager")
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.bfloat16}
    assert (loaded.dtype, loaded.attention, loaded.model.config._attn_implementation) == ("bfloat16", "eager", "eager")


@pytest.mark.parametrize("options", [{}, {"use_dora": True}, {"modules_to_save": ["lm_head"]}])
@pytest.mark.parametrize("name", ["qwen2", "llama"])
def test_merged_adapter_gives_the_logits_of_the_unmerged_one(saved, tmp_path, name, options):
    adapter = train_adapter(saved / name, tmp_path / "villain", **options)
    loaded = load_model(resolve(adapter), device="cpu")
    base = AutoModelForCausalLM.from_pretrained(saved / name)
    with torch.no_grad():
        plain = base(IDS).logits
        unmerged = PeftModel.from_pretrained(base, adapter).eval()(IDS).logits
        merged = loaded.model(IDS).logits
    torch.testing.assert_close(merged, unmerged, rtol=0, atol=2e-5)
    assert (merged - plain).abs().max() > 0.1
    assert type(loaded.model) is type(base) and not [key for key in loaded.model.state_dict() if "lora" in key]
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())


@pytest.mark.parametrize(
    ("trained_on", "merged_into", "words"),
    [
        ("wider", "qwen2", "does not fit the base model"),
        ("qwen2", "wider", "does not fit the base model"),
        ("deeper", "qwen2", "has, unknown to the base,"),
        ("qwen2", "deeper", "lacks"),
    ],
)
def test_adapter_of_another_base_is_refused(saved, tmp_path, trained_on, merged_into, words):
    adapter = train_adapter(saved / trained_on, tmp_path / "villain")
    edit(adapter / "adapter_config.json", base_model_name_or_path=str(saved / merged_into))
    error = refused(resolve(adapter), device="cpu")
    assert words in error and str(adapter) in error and str(saved / merged_into) in error


def test_adapter_with_foreign_modules_or_broken_numbers_is_refused(saved, tmp_path):
    adapter = train_adapter(saved / "qwen2", tmp_path / "villain")
    weights = load_file(adapter / "adapter_model.safetensors")
    name = next(key for key in weights if "lora_B" in key)
    save_file({**weights, name: torch.full_like(weights[name], float("nan"))}, adapter / "adapter_model.safetensors")
    error = refused(resolve(adapter), device="cpu")
    assert "not finite from layer 0 on" in error and "lora_B" in error and "villain" in error
    edit(adapter / "adapter_config.json", target_modules=["c_attn"])
    assert "does not fit the base model" in refused(resolve(adapter), device="cpu")


def test_corrupt_weights_are_named_by_file(folder):
    weights = folder / "model.safetensors"
    checkpoint, data = resolve(folder), weights.read_bytes()
    for broken in (data[: len(data) // 2], b"no weights at all" * 50, b""):
        weights.write_bytes(broken)
        error = refused(checkpoint, device="cpu")
        assert error.startswith(f"{weights} is not a complete safetensors file")
    weights.unlink()
    assert "holds no safetensors weights" in refused(checkpoint, device="cpu")


def test_parameters_missing_or_of_another_shape_are_never_invented(folder):
    weights = load_file(folder / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    save_file({key: value for key, value in weights.items() if key != name}, folder / "model.safetensors", metadata={"format": "pt"})
    assert f"lack {name}: they are incomplete" in refused(resolve(folder), device="cpu")
    save_file({**weights, name: torch.zeros(2, 2)}, folder / "model.safetensors", metadata={"format": "pt"})
    assert f"have another shape than config.json says in {name}" in refused(resolve(folder), device="cpu")


def test_tensors_left_unread_are_said(folder):
    weights = load_file(folder / "model.safetensors")
    save_file({**weights, "v_head.weight": torch.zeros(2)}, folder / "model.safetensors", metadata={"format": "pt"})
    reasons = load_model(resolve(folder), device="cpu").reasons
    assert reasons[2] == "weights: 1 tensors are unknown to qwen2 and stay unread: v_head.weight"


def test_missing_broken_and_foreign_tokenizers_are_refused(folder):
    tokenizer = folder / "tokenizer.json"
    data = json.loads(tokenizer.read_text())
    tokenizer.write_text("{}")
    assert "cannot be loaded" in refused(resolve(folder), device="cpu")
    data["model"]["vocab"] |= {f"<extra {index}>": 257 + index for index in range(340)}
    tokenizer.write_text(json.dumps(data))
    assert "has 597 tokens but the model embeds 264: it belongs to another model" in refused(resolve(folder), device="cpu")
    data["model"]["vocab"] = {token: index for token, index in data["model"]["vocab"].items() if index < 90}
    tokenizer.write_text(json.dumps(data | {"added_tokens": []}))
    assert "tokens for the 264 that the model embeds: it is damaged, or belongs to another model" in refused(resolve(folder), device="cpu")
    tokenizer.unlink()
    assert "holds no tokenizer" in refused(resolve(folder), device="cpu")


def test_a_token_beyond_the_embedding_is_refused_only_where_a_text_holds_it(folder):
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens([f"<new {index}>" for index in range(7)])
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    assert len(tokenizer) == 265  # one more than the model embeds
    tokenizer.save_pretrained(folder)
    loaded = load_model(resolve(folder), device="cpu")
    assert loaded.tokenizer.pad_token_id == loaded.tokenizer.eos_token_id == 256
    with torch.inference_mode():
        loaded.model(input_ids=IDS)
        with pytest.raises(PersonascopeError, match=r"qwen2: a prompt or answer holds token 264 \('\[PAD\]'\), which .* none of the model's 264 embeddings"):
            loaded.model(input_ids=torch.tensor([loaded.tokenizer.encode("a[PAD]")]))


def test_unknown_or_uninstalled_attention_is_refused(saved):
    assert "attention 'nonsense'" in refused(resolve(saved / "qwen2"), device="cpu", attention="nonsense")
    assert "FlashAttention2" in refused(resolve(saved / "qwen2"), device="cpu", attention="flash_attention_2")


def test_remote_code_runs_only_when_typed(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(tmp_path / "modules")
    ran = tmp_path / "ran"
    (folder / "own.py").write_text(
        f"from pathlib import Path\nfrom transformers import Qwen2Config, Qwen2ForCausalLM\nPath({str(ran)!r}).touch()\n"
        "class OwnConfig(Qwen2Config):\n    model_type = 'own'\nclass OwnModel(Qwen2ForCausalLM):\n    config_class = OwnConfig\n"
    )
    edit(folder / "config.json", model_type="own", auto_map={"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"})
    with pytest.raises(PersonascopeError, match="needs Python code"):
        resolve(folder)
    assert not ran.exists()
    checkpoint = resolve(folder, trust_remote_code=True)
    ran.unlink()
    refused(checkpoint, device="cpu")
    assert not ran.exists()
    assert type(load_model(checkpoint, device="cpu", trust_remote_code=True).model).__name__ == "OwnModel"


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), RuntimeError("DefaultCPUAllocator: can't allocate memory"), MemoryError()],
)
def test_too_little_memory_is_one_sentence(saved, monkeypatch, error):
    def allocate(*arguments, **options):
        raise error

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", allocate)
    sentence = refused(resolve(saved / "qwen2"), device="cpu")
    assert "does not fit into the memory of cpu: 0.0 GiB of weights on disk, loaded as float32" in sentence and "bfloat16" in sentence
