"""Small GGUF files with random weights, written by the package gguf from models of transformers, as llama.cpp's converter would write them.

Not a test module: loaded by name, since `tests` is on the path.
"""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM

SHAPE: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 256,
}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {  # architecture in the file, what the configuration has besides
    "llama": ("llama", {}),
    "mistral": ("llama", {"sliding_window": None}),
    "qwen2": ("qwen2", {"head_dim": 16}),
    "qwen3": ("qwen3", {}),
    "gemma2": ("gemma2", {"sliding_window": 16, "query_pre_attn_scalar": 32}),
    "gemma3_text": ("gemma3", {"sliding_window": 16, "query_pre_attn_scalar": 32, "num_hidden_layers": 7}),
}
SPECIAL = ["<unk>", "<s>", "</s>", "<pad>"]
TEMPLATE = "{% for m in messages %}{{ '<s>' + m['role'] + ' ' + m['content'] + '</s>' }}{% endfor %}"


def model_of(family: str) -> Any:
    """A random model of a family, in float32."""
    arch, own = FAMILIES[family]
    torch.manual_seed(3)
    tokens = len(pieces()) if arch.startswith(("llama", "gemma")) else len(byte_pieces())
    config = AutoConfig.for_model(family, **(SHAPE | own), vocab_size=tokens, bos_token_id=1, eos_token_id=2, pad_token_id=3)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.2)
    return model


def write(
    path: Path, model: Any, kind: str = "F32", settings: dict[str, Any] | None = None, drop: str = "", extra: dict[str, np.ndarray] | None = None
) -> Path:
    """`model` as a GGUF file with matrices of type `kind`; `settings` are added, the tensor `drop` is left out, tensors `extra` are added."""
    config = model.config
    arch, _ = FAMILIES[config.model_type]
    writer = gguf.GGUFWriter(path, arch)
    writer.add_name("Mistral Small" if config.model_type == "mistral" else "small")
    writer.add_file_type(gguf.LlamaFileType["ALL_F32" if kind == "F32" else f"MOSTLY_{kind}"])
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10_000.0 if arch != "gemma3" else 1_000_000.0)
    if arch in ("gemma2", "gemma3", "qwen3"):
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
    if arch == "llama":
        writer.add_rope_dimension_count(config.head_dim)
        writer.add_key_length(config.head_dim)
    if arch in ("gemma2", "gemma3"):
        writer.add_sliding_window(config.sliding_window)
    for key, value in (settings or {}).items():
        adders: dict[type, Any] = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
        adders[type(value)](key, value)
    _add_tokenizer(writer, arch)
    names = gguf.get_tensor_name_map(next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == arch), config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        stem, _, suffix = name.rpartition(".")
        there = f"{names.get_name(stem)}.{suffix}"
        if there != drop:
            _add(writer, there, _as_in_file(arch, config, name, tensor.numpy()), kind)
    for name, values in (extra or {}).items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _as_in_file(arch: str, config: Any, name: str, values: np.ndarray) -> np.ndarray:
    """What llama.cpp's converter does to the numbers: rotated pairs side by side for Llama, one more on every norm of Gemma."""
    if arch == "llama" and ("q_proj" in name or "k_proj" in name):
        heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
        return values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)
    return values + 1 if arch.startswith("gemma") and name.endswith("norm.weight") else values


def _add(writer: Any, name: str, values: np.ndarray, kind: str) -> None:
    if values.ndim == 1 or kind == "F32":
        writer.add_tensor(name, values)
    elif kind == "F16":
        writer.add_tensor(name, values.astype(np.float16))
    else:
        quantised = gguf.GGMLQuantizationType[kind]
        writer.add_tensor(name, gguf.quants.quantize(values, quantised), raw_dtype=quantised)


def pieces() -> list[str]:
    """A SentencePiece vocabulary: special tokens, bytes, letters, a few words."""
    return [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"abcdefghijklmnopqrstuvwxyz.,", "th", "▁th", "▁the", "an", "▁an", "er"]


def byte_pieces() -> list[str]:
    """A byte-level vocabulary: special tokens, one token a byte, a few words."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    return [*SPECIAL, *bytes_to_unicode().values(), "th", "the", "Ġthe", "Ġt", "an"]


def _add_tokenizer(writer: Any, arch: str) -> None:
    normal, control, byte = gguf.TokenType.NORMAL, gguf.TokenType.CONTROL, gguf.TokenType.BYTE
    spm = not arch.startswith("qwen")
    tokens = pieces() if spm else byte_pieces()
    writer.add_tokenizer_model("llama" if spm else "gpt2")
    writer.add_tokenizer_pre("default" if spm else "qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([control if token in SPECIAL else byte if token.startswith("<0x") else normal for token in tokens])
    if spm:
        writer.add_token_scores([0.0 if token in SPECIAL else float(-index) for index, token in enumerate(tokens)])
    else:
        writer.add_token_merges(["t h", "th e", "Ġ t", "Ġ the", "a n"])
    for add, index in ((writer.add_unk_token_id, 0), (writer.add_bos_token_id, 1), (writer.add_eos_token_id, 2), (writer.add_pad_token_id, 3)):
        add(index)
    if arch == "llama":
        writer.add_chat_template(TEMPLATE)
