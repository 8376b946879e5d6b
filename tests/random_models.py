"""Random checkpoints of three architectures with the tokenizer of the fixture `random_checkpoint`, and bytes as a tokenizer, for tests with hand-written hooks.

Not a test module: loaded by name, since `tests` is on the path.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

SHAPE: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
FAMILIES: dict[str, dict[str, Any]] = {"qwen2": {}, "llama": {}, "mistral": {"sliding_window": 12}}


def write(family: str, source: Path, folder: Path, seed: int = 1, **shape: int) -> Path:
    """A random model of `family` with the tokenizer files of `source`, in `folder`; `shape` is what of SHAPE is to be otherwise."""
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    known = json.loads((source / "config.json").read_text())
    shared = {name: known[name] for name in ("vocab_size", "eos_token_id", "pad_token_id")}
    config = AutoConfig.for_model(family, **SHAPE | shape, **shared, **FAMILIES[family], bos_token_id=None, max_position_embeddings=512, initializer_range=0.4)
    torch.manual_seed(seed)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    return folder


def exact(folder: Path) -> Any:
    """The model in float64, run by transformers' eager attention: what a hand-written hook is tried on."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager").eval()


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of the 256 bytes and an end token, without a chat template."""
    vocab = {character: index for index, character in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab={**vocab, "<|endoftext|>": 256}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")
