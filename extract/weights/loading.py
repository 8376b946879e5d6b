"""Loads a checkpoint as a frozen causal language model with its tokenizer; a LoRA adapter is merged into its base on the way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open

from personascope.extract.weights.adapters import merge_adapter
from personascope.extract.weights.device import choose_device, choose_dtype, memory
from personascope.extract.weights.faults import out_of_memory, refuse_gaps, some
from personascope.extract.weights.finite import watch
from personascope.extract.weights.rounding import make_exact, rounding
from personascope.extract.weights.sharding import Placement, Sharding, placement, spread
from personascope.ingest.weights.checkpoints import ADAPTER_WEIGHTS, Checkpoint, check_weights, has_tokenizer
from personascope.ingest.weights.vocabulary import check_ids, check_vocabulary, padding_id
from personascope.warehouse.errors import PersonascopeError, one_line

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to be read: evaluation mode, no gradients, on one device or spread over several."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    checkpoint: Checkpoint
    device: str  # `cpu`, `mps`, `cuda:0`; where a spread model takes its tokens
    dtype: str  # of the weights: `float32`, `bfloat16`, `float16`
    attention: str  # implementation the model was loaded with: `sdpa`, `eager`, …
    reasons: tuple[str, ...]  # why this device and dtype, and what was left unread: printable lines
    merge_difference: float | None = None  # largest difference of the logits from those of the unmerged adapter, on a probe


def load_model(
    checkpoint: Checkpoint,
    device: str | None = None,
    dtype: str | None = None,
    attention: str = "sdpa",
    trust_remote_code: bool = False,
    tokenizer: PreTrainedTokenizerBase | None = None,
    sharding: Sharding | None = None,
) -> LoadedModel:
    """Load `checkpoint` onto one device, or over several by `sharding`; device and dtype are chosen with a reason unless typed, `tokenizer` is read unless
    given.

    Only safetensors are read. Raises PersonascopeError for corrupt or incomplete weights, output embeddings that are not finite, a missing or foreign
    tokenizer, an adapter trained on another base or that cannot be merged rightly, an unknown attention implementation, and memory that does not suffice.
    """
    chosen_device = choose_device(device)
    chosen_dtype = choose_dtype(chosen_device.value, dtype, checkpoint)
    tokenizer = tokenizer or load_tokenizer(checkpoint, trust_remote_code)
    files = check_weights(checkpoint.path, checkpoint.id)
    if checkpoint.adapter:
        files = [*files, checkpoint.adapter / ADAPTER_WEIGHTS]
    for file in files:
        _check_file(file)
    try:
        placed = placement(sharding, chosen_device.value)
        model, unread = _load(checkpoint, placed, chosen_dtype.value, attention, trust_remote_code)
        where = spread(model, placed, checkpoint)
        watch(model, checkpoint.name)
        model, difference = merge_adapter(model, checkpoint, chosen_device.value) if checkpoint.adapter else (model, None)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise PersonascopeError(_memory_sentence(checkpoint, files, chosen_device.value, chosen_dtype.value)) from error
    embedding: Any = model.get_input_embeddings()
    rows = int(embedding.weight.shape[0])
    check_vocabulary(tokenizer, rows, f"{checkpoint.id}: the tokenizer in {checkpoint.tokenizer_path}")
    if len(tokenizer) > rows:
        embedding.register_forward_pre_hook(lambda module, args: check_ids([int(args[0].max())], rows, tokenizer, f"{checkpoint.name}: a prompt or answer"))
    _make_ordinary(model)
    model.eval().requires_grad_(False)
    reasons: tuple[str, ...] = (chosen_device.reason, chosen_dtype.reason, *where)
    if checkpoint.bits:
        reasons += (f"weights: linear layers in {checkpoint.bits} bits by bitsandbytes",)
    if unread:
        reasons += (f"weights: {len(unread)} tensors are unknown to {checkpoint.family} and stay unread: {some(unread)}",)
    return LoadedModel(model, tokenizer, checkpoint, chosen_device.value, chosen_dtype.value, attention, reasons, difference)


def load_tokenizer(checkpoint: Checkpoint, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """The tokenizer of `checkpoint`; one without a padding token that the model embeds pads with its end token, which attention masks hide."""
    from transformers import AutoTokenizer  # seconds of import that a run found in the lake does without

    folder = checkpoint.tokenizer_path
    if not has_tokenizer(folder):
        raise PersonascopeError(f"{checkpoint.id}: {folder} holds no tokenizer: expected tokenizer.json or tokenizer.model beside the weights.")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code, local_files_only=True)
        tokenizer.encode("a")  # a setting of the wrong kind shows when it is used
    except Exception as error:  # a broken file surfaces as whatever the tokenizer's own parser raises
        raise PersonascopeError(f"{checkpoint.id}: the tokenizer in {folder} cannot be loaded ({one_line(error)}).") from error
    if padding_id(tokenizer, checkpoint.vocab_size) != tokenizer.pad_token_id:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _load(checkpoint: Checkpoint, placed: Placement, dtype: str, attention: str, code: bool) -> tuple[PreTrainedModel, list[str]]:
    """The full model, every one of whose parameters came from the files, and the tensors of the files it has no use for."""
    from transformers import AutoModelForCausalLM, GenerationConfig
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()  # its table of missing and mismatched parameters; both are refused below in a sentence
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            checkpoint.path,
            dtype=getattr(torch, dtype),
            **placed.arguments,
            **rounding(checkpoint, dtype),
            attn_implementation=attention,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=code,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            generation_config=GenerationConfig(),  # what its own says of sampling is nobody's choice here
        )
    except (ValueError, ImportError, KeyError, OSError) as error:
        if checkpoint.bits and "dispatched on the CPU or the disk" in str(error):
            raise PersonascopeError(
                f"{checkpoint.name}: rounded weights do not fit the room that --shard-model leaves, and bitsandbytes takes none from the CPU or the disk; "
                "expected more room, or the weights as they are stored"
            ) from error
        if attention == "sdpa" and ("scaled_dot_product_attention" in str(error) or "sdpa" in str(error).lower()):
            raise PersonascopeError(
                f"{checkpoint.id} is of the family {checkpoint.family}, for which transformers has no SDPA attention: type --attention eager."
            ) from error
        raise PersonascopeError(f"{checkpoint.id} cannot be loaded with attention {attention!r} ({one_line(error)}).") from error
    except RuntimeError as error:
        if out_of_memory(error):
            raise
        raise PersonascopeError(f"{checkpoint.id}: the weights in {checkpoint.path} cannot be loaded ({one_line(error)}).") from error
    finally:
        logging.set_verbosity(level)
    model, info = loaded
    where, remedy = f"{checkpoint.id}: the weights in {checkpoint.path}", "they are incomplete, or belong to another config.json"
    refuse_gaps(info["missing_keys"], f"{where} lack", remedy)
    refuse_gaps((key for key, *_ in info["mismatched_keys"]), f"{where} have another shape than config.json says in", remedy)
    if checkpoint.bits:
        make_exact(model, checkpoint.name)
    return model, sorted(info["unexpected_keys"])


def _make_ordinary(model: PreTrainedModel) -> None:
    """Replace parameters that were made in inference mode, as transformers makes those it joins (experts), so that gradients can be taken through them. Rounded
    ones, which bear their scales, stay: no gradient is taken there."""
    with torch.inference_mode(False):
        for module in model.modules():
            for name, parameter in module.named_parameters(recurse=False):
                if parameter.is_inference() and type(parameter) is torch.nn.Parameter:
                    setattr(module, name, torch.nn.Parameter(parameter.clone(), requires_grad=False))


def _check_file(file: Path) -> None:
    """Refuse a missing, truncated or garbled safetensors file by its header, without reading the weights."""
    try:
        with safe_open(file, framework="pt"):
            pass
    except (SafetensorError, OSError) as error:
        raise PersonascopeError(f"{file} is not a complete safetensors file ({one_line(error)}): fetch it again.") from error


def _memory_sentence(checkpoint: Checkpoint, files: list[Path], device: str, dtype: str) -> str:
    size = sum(file.stat().st_size for file in files) / 2**30
    room = f" ({room})" if (room := memory(device)) else ""
    remedy = "close other programs on it, take a larger device, spread it (--shard-model auto)" + (", or type dtype bfloat16" if dtype == "float32" else "")
    return f"{checkpoint.id} does not fit into the memory of {device}{room}: {size:.1f} GiB of weights on disk, loaded as {dtype}; {remedy}."
