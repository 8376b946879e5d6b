"""What each architecture of GGUF files is to transformers: its configuration, the names of its tensors, and what their numbers went through.

A setting that no line here reads is refused, since a model that runs without it is another model.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from personascope.ingest.weights.gguf_file import GgufFile, library
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.settings import nearest

_SIZES = {
    "block_count": "num_hidden_layers",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "context_length": "max_position_embeddings",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
}
_READ = {  # read below, beside the sizes
    *("attention.key_length", "attention.value_length", "rope.dimension_count", "rope.freq_base", "vocab_size"),
    *("rope.scaling.type", "rope.scaling.factor", "rope.scaling.original_context_length"),
}
_NOTES = {"rope.scaling.finetuned", "tensor_data_layout"}  # say what was done, not what is to be done
_EMPTY = {"expert_count", "expert_used_count", "rope.scaling.attn_factor"}  # change nothing where they are 0
_LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}


@dataclass(frozen=True)
class Family:
    """How files of one architecture are read."""

    model_type: Callable[[GgufFile], str]
    settings: Mapping[str, str] = field(default_factory=dict)  # settings of its own, and the names transformers has for them
    rows_by_pairs: bool = False  # q and k hold each head's rotated pairs beside each other, where transformers has halves
    norm_offset: float = 0.0  # what was added to the weights of every norm
    more: Callable[[GgufFile, dict[str, Any]], dict[str, Any]] = lambda file, config: {}


def _llama_type(file: GgufFile) -> str:
    """Mistral's models come under the architecture llama, told by their name or their window alone."""
    names = " ".join(str(file.settings.get(f"general.{key}", "")) for key in ("name", "basename")).lower()
    return "mistral" if "mistral" in names or "llama.attention.sliding_window" in file.settings else "llama"


def _llama_more(file: GgufFile, config: dict[str, Any]) -> dict[str, Any]:
    bias = {"attention_bias": "blk.0.attn_q.bias" in file.tensors, "mlp_bias": "blk.0.ffn_up.bias" in file.tensors}
    return {"sliding_window": file.settings.get("llama.attention.sliding_window")} if config["model_type"] == "mistral" else bias


def _gemma_scale(layers_of_27b: int) -> Callable[[GgufFile, dict[str, Any]], dict[str, Any]]:
    """Attention is scaled by the width of a head, but in the model of 27 billion parameters, which its depth tells, by the share of each head."""

    def more(file: GgufFile, config: dict[str, Any]) -> dict[str, Any]:
        share = config["hidden_size"] // config["num_attention_heads"]
        return {"query_pre_attn_scalar": share if config["num_hidden_layers"] == layers_of_27b else config["head_dim"]}

    return more


def _gemma3_more(file: GgufFile, config: dict[str, Any]) -> dict[str, Any]:
    local = float(file.settings.get("gemma3.rope.freq_base_swa", 10_000.0))
    rope = {"full_attention": config["rope_parameters"], "sliding_attention": {"rope_type": "default", "rope_theta": local}}
    pattern = file.settings.get("gemma3.attention.sliding_window_pattern", 6)
    if not isinstance(pattern, int):
        raise PersonascopeError(f"{file.path}: gemma3.attention.sliding_window_pattern is {pattern!r}, expected a whole number.")
    kinds = ["full_attention" if (layer + 1) % pattern == 0 else "sliding_attention" for layer in range(config["num_hidden_layers"])]
    return {"rope_parameters": rope, "layer_types": kinds, **_gemma_scale(62)(file, config)}


_WINDOW = {"attention.sliding_window": "sliding_window"}
_SOFTCAPS = {"attn_logit_softcapping": "attn_logit_softcapping", "final_logit_softcapping": "final_logit_softcapping"}
_LATER = {"rope.freq_base_swa": "", "attention.sliding_window_pattern": ""}  # read by `_gemma3_more`

FAMILIES = {
    "llama": Family(_llama_type, settings={"attention.sliding_window": ""}, rows_by_pairs=True, more=_llama_more),
    "qwen2": Family(lambda file: "qwen2"),
    "qwen3": Family(lambda file: "qwen3"),
    "gemma2": Family(lambda file: "gemma2", settings=_WINDOW | _SOFTCAPS, norm_offset=1.0, more=_gemma_scale(46)),
    "gemma3": Family(lambda file: "gemma3_text", settings=_WINDOW | _SOFTCAPS | _LATER, norm_offset=1.0, more=_gemma3_more),
}


def family_of(file: GgufFile) -> Family:
    """The family of a file; raises PersonascopeError naming an architecture that is none of them."""
    if file.architecture not in FAMILIES:
        raise PersonascopeError(
            f"{file.path} is of the architecture {file.architecture!r}, whose weights cannot be brought in: {nearest(file.architecture, FAMILIES)}"
        )
    return FAMILIES[file.architecture]


def configuration(file: GgufFile) -> Any:
    """The configuration that transformers needs for the file's model; raises PersonascopeError for settings that nothing here reads."""
    from transformers import AutoConfig

    family = family_of(file)
    own = {key.removeprefix(f"{file.architecture}."): value for key, value in file.settings.items() if key.startswith(f"{file.architecture}.")}
    _refuse_unread(file, own, family)
    missing = [key for key in ("block_count", "embedding_length", "feed_forward_length", "attention.head_count") if key not in own]
    if missing or "token_embd.weight" not in file.tensors:
        raise PersonascopeError(f"{file.path} lacks {', '.join(missing) or 'the embedding token_embd.weight'}: it is no whole model.")
    config = {name: own[key] for key, name in _SIZES.items() if key in own}
    width = own.get("attention.key_length", config["hidden_size"] // config["num_attention_heads"])
    if {own.get("attention.value_length", width), own.get("rope.dimension_count", width)} != {width}:
        raise PersonascopeError(f"{file.path} has heads whose keys, values and rotated dimensions differ in number, expected {width} of each.")
    tokens = {name: file.settings.get(f"tokenizer.ggml.{key}") for name, key in TOKEN_IDS.items()}
    config |= {
        "model_type": family.model_type(file),
        "vocab_size": file.shape("token_embd.weight")[0],
        "head_dim": width,
        "tie_word_embeddings": "output.weight" not in file.tensors,
        "rope_parameters": {"rope_theta": float(own.get("rope.freq_base", 10_000.0)), **_rope_scaling(file, own, width)},
        **{name: own[key] for key, name in family.settings.items() if name and key in own},
        **{name: tokens[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")},
    }
    config |= family.more(file, config)
    return AutoConfig.for_model(**config)


TOKEN_IDS = {"bos_token_id": "bos_token_id", "eos_token_id": "eos_token_id", "pad_token_id": "padding_token_id"}


def _refuse_unread(file: GgufFile, own: Mapping[str, Any], family: Family) -> None:
    known = _SIZES.keys() | _READ | family.settings.keys() | _NOTES | {key for key in _EMPTY if not own.get(key)}
    if unknown := sorted(own.keys() - known):
        raise PersonascopeError(
            f"{file.path} sets {file.architecture}.{unknown[0]} to {own[unknown[0]]!r}, which nothing here reads: without it the model is another one."
        )


def _rope_scaling(file: GgufFile, own: Mapping[str, Any], width: int) -> dict[str, Any]:
    """How rotary positions are stretched: said by settings, or by the tensor rope_freqs (Llama 3.1 and 3.2)."""
    kind = own.get("rope.scaling.type", "none")
    if "rope_freqs.weight" in file.tensors:
        return _llama3_scaling(file, float(own.get("rope.freq_base", 10_000.0)), width)
    if kind == "none":
        return {"rope_type": "default"}
    factor = float(own.get("rope.scaling.factor", 0))
    if kind == "linear" and factor:
        return {"rope_type": "linear", "factor": factor}
    if kind == "yarn" and factor and "rope.scaling.original_context_length" in own:
        return {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": own["rope.scaling.original_context_length"]}
    raise PersonascopeError(f"{file.path} stretches rotary positions by {kind!r}: expected none, linear with a factor, or yarn with a factor and a context.")


def _llama3_scaling(file: GgufFile, base: float, width: int) -> dict[str, Any]:
    """Llama 3's rule whose factors by frequency are the tensor rope_freqs."""
    found = np.asarray(library().dequantize(file.tensors["rope_freqs.weight"].data, file.tensors["rope_freqs.weight"].tensor_type), dtype=np.float64)
    wavelengths = 2 * math.pi * base ** (np.arange(0, width, 2) / width)
    factor, low, high, context = float(found.max()), *(float(value) for value in _LLAMA3.values())
    smooth = np.clip((context / wavelengths - low) / (high - low), 0, 1)
    expected = 1 / ((1 - smooth) / factor + smooth)
    if found.shape != expected.shape or not np.allclose(found, expected, rtol=1e-4):
        raise PersonascopeError(f"{file.path}: rope_freqs.weight stretches rotary positions by another rule than Llama 3's, so it cannot be brought in.")
    return {"rope_type": "llama3", "factor": factor, **_LLAMA3}


def tensor_names(file: GgufFile, config: Any) -> dict[str, tuple[str, tuple[int, ...]]]:
    """For every tensor the model of transformers has: its name in the file, its name there, its shape; checked against what the file holds.

    Raises PersonascopeError for tensors that lack, that are left over, or that have another shape.
    """
    import torch
    from transformers import AutoModelForCausalLM

    gguf = library()
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    arch = next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == file.architecture)
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    wanted = {}
    for name, tensor in model.state_dict().items():
        if config.tie_word_embeddings and name == "lm_head.weight":
            continue
        stem, _, suffix = name.rpartition(".")
        wanted[f"{names.get_name(stem)}.{suffix}"] = name, tuple(tensor.shape)
    lacking, beside = sorted(wanted.keys() - file.tensors.keys()), sorted(file.tensors.keys() - wanted.keys() - {"rope_freqs.weight"})
    if lacking or beside:
        what = f"lacks {_some(lacking)}" if lacking else f"holds {_some(beside)}, which a {config.model_type} model has not"
        raise PersonascopeError(f"{file.path} {what}: it is cut off, or another model than its settings say.")
    for name, (there, shape) in wanted.items():
        if file.shape(name) != shape:
            raise PersonascopeError(f"{file.path}: {name} has the shape {file.shape(name)}, expected {shape} ({there}) by the file's settings.")
    return wanted


def restoring(family: Family, config: Any, name: str) -> Callable[[np.ndarray], np.ndarray] | None:
    """What turns the numbers of a whole tensor of the file, float32, into those of transformers; None where they are the same."""
    if family.norm_offset and name.endswith("norm.weight"):
        return lambda values: values - np.float32(family.norm_offset)
    if family.rows_by_pairs and (".attn_q." in name or ".attn_k." in name):
        heads = config.num_attention_heads if ".attn_q." in name else config.num_key_value_heads
        return lambda values: values.reshape(heads, -1, 2, *values.shape[1:]).swapaxes(2, 1).reshape(values.shape)
    return None


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
