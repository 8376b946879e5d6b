"""Random checkpoints of three architectures with the tokenizer of the fixture `random_checkpoint`, for tests that compare with hand-written hooks.

Not a test module: loaded by name, since `tests` is on the path.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

SHAPE: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
FAMILIES: dict[str, dict[str, Any]] = {"qwen2": {}, "llama": {}, "mistral": {"sliding_window": 12}}


def write(family: str, source: Path, folder: Path, seed: int = 1) -> Path:
    """A random model of `family` with the tokenizer files of `source`, in `folder`."""
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    known = json.loads((source / "config.json").read_text())
    shared = {name: known[name] for name in ("vocab_size", "eos_token_id", "pad_token_id")}
    config = AutoConfig.for_model(family, **SHAPE, **shared, **FAMILIES[family], bos_token_id=None, max_position_embeddings=512, initializer_range=0.4)
    torch.manual_seed(seed)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    return folder


def exact(folder: Path) -> Any:
    """The model in float64, run by transformers' eager attention: what a hand-written hook is tried on."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager").eval()
