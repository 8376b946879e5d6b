"""Merges a LoRA adapter into its base, and holds what comes out against the adapter applied unmerged, so that a merge into another model is refused."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor, nn

from personascope.extract.weights.faults import out_of_memory, refuse_gaps, some
from personascope.ingest.weights.checkpoints import ADAPTER_CONFIG, ADAPTER_WEIGHTS, Checkpoint
from personascope.ingest.weights.json_file import read_object
from personascope.warehouse.errors import PersonascopeError, one_line
from personascope.warehouse.settings import short
from personascope.warehouse.store.hashing import stable_seed

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LIMIT = 1e-4  # logits of a float32 merge may differ by this much, or by ROUND_OFFS of the largest logit where that is more
ROUND_OFFS = 64
ROUNDINGS = 8  # or by this many times what the model itself makes of one rounding in every linear layer, where that is more
HALF_ROUND_OFFS = 16  # root mean square of the differences beside that of the logits, in half precision, where the merge rounds every weight
_PROBE_TOKENS = 12
_LONGEST_PATTERN = 10_000  # characters
_REPEATED_GROUP = re.compile(r"\)\s*[*+{]")  # what makes a match take exponential time

# What vLLM applies of an adapter: the plain low-rank product at lora_alpha / r (or / sqrt(r)) on linear layers. It refuses some of the rest and leaves out the
# rest of the rest in silence, which would be another model.
_PLAIN: dict[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "bias": ("none",),
    "use_rslora": (True, False, None),
    "init_lora_weights": (True, False, None, "gaussian", "orthogonal", "eva"),
}
_ENDS = ("lm_head", "embed_tokens", "embed_in", "embed_out", "wte")
_ABSENT = (
    "use_dora",
    "lora_bias",
    "fan_in_fan_out",
    "modules_to_save",
    "rank_pattern",
    "alpha_pattern",
    "layer_replication",
    "alora_invocation_tokens",
    "trainable_token_indices",
    "target_parameters",
    "use_qalora",
    "use_bdlora",
    "arrow_config",
    "kasa_config",
    "velora_config",
    "monteclora_config",
)


class Merged(NamedTuple):
    """The base model with the adapter's update in its weights, and the largest difference of its logits from the unmerged adapter's on the probe."""

    model: PreTrainedModel
    difference: float


def merge_adapter(model: PreTrainedModel, checkpoint: Checkpoint, device: str) -> Merged:
    """The base model with the adapter's update added to its weights, in the base's dtype.

    Tied embeddings that the adapter changes on one side are untied first, as the adapter applied unmerged has it. Two forward passes over a dozen tokens then
    compare the two. Raises PersonascopeError for an adapter that cannot be merged, of another base, or whose merge gives other logits.
    """
    from peft import PeftConfig, PeftModelForCausalLM  # seconds of import that only adapters need

    where = f"{checkpoint.id}: the adapter in {checkpoint.adapter}"
    _refuse_unmergeable(checkpoint, where)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of ties, which are held against the unmerged adapter below
        try:
            wrapped: Any = PeftModelForCausalLM(model, PeftConfig.from_pretrained(str(checkpoint.adapter)))
            result = wrapped.load_adapter(str(checkpoint.adapter), "default", torch_device=device)
        except (ValueError, RuntimeError, KeyError, TypeError, AttributeError, ImportError) as error:
            if out_of_memory(error):
                raise
            raise PersonascopeError(f"{where} does not fit the base model in {checkpoint.path} ({one_line(error)}).") from error
        remedy = f"it was trained on another base model than the one in {checkpoint.path}"
        refuse_gaps(result.missing_keys, f"{where} lacks", remedy)
        refuse_gaps(result.unexpected_keys, f"{where} has, unknown to the base,", remedy)
        wrapped.eval()
        probe = _probe(model, device)
        unmerged = _logits(wrapped, probe)
        _untie(wrapped)
        try:
            merged = wrapped.merge_and_unload(safe_merge=True)
        except (ValueError, RuntimeError, TypeError, AttributeError, NotImplementedError) as error:
            if out_of_memory(error):
                raise
            raise PersonascopeError(f"{where} cannot be merged ({one_line(error)}).") from error
    return Merged(merged, _compared(unmerged, merged, probe, where))


def refuse_beside_plain(adapter: Path, name: str) -> None:
    """Raises PersonascopeError for an adapter that vLLM, which applies it unmerged, would read as another model or not at all."""
    config = read_object(adapter / ADAPTER_CONFIG)
    odd = [key for key, known in _PLAIN.items() if key in config and config[key] not in known] + [key for key in _ABSENT if config.get(key)]
    ends = sorted({layer for layer in _layers_of(adapter) if layer in _ENDS})
    if odd or ends:
        raise PersonascopeError(
            f"engine vllm applies only plain LoRA on linear layers, and the adapter of {name} ({adapter}) has {some(odd + ends)}: it would sample from another "
            "model than the one that is read; use --engine hf, which merges it"
        )


def _layers_of(adapter: Path) -> set[str]:
    """The names of the layers that an adapter has weights for, as q_proj or lm_head."""
    with safe_open(adapter / ADAPTER_WEIGHTS, framework="pt") as weights:
        return {part for key in weights.keys() for part in key.split(".")}  # noqa: SIM118 (no mapping)


def _config(checkpoint: Checkpoint) -> dict[str, Any]:
    return read_object(checkpoint.adapter / ADAPTER_CONFIG) if checkpoint.adapter else {}


def _refuse_unmergeable(checkpoint: Checkpoint, where: str) -> None:
    """Adapters that change the model in a way that no weights of the base's shape hold."""
    config = _config(checkpoint)
    if config.get("alora_invocation_tokens"):
        raise PersonascopeError(
            f"{where} is an activated LoRA (alora_invocation_tokens in {ADAPTER_CONFIG}): it acts only behind its invocation tokens, so no merged weights "
            "equal it; expected an adapter that acts on every token."
        )
    if config.get("layer_replication"):
        raise PersonascopeError(
            f"{where} repeats layers of its base (layer_replication in {ADAPTER_CONFIG}), so its layers are not those of the base; merge it with PEFT, save "
            "the result, and give that folder."
        )
    for name, pattern in _patterns(config):
        try:
            re.compile(pattern)
        except (re.error, OverflowError, RecursionError) as error:
            raise PersonascopeError(f"{where}: {name} in {ADAPTER_CONFIG} is {short(pattern)}, which is no pattern ({one_line(error)}).") from error
        if len(pattern) > _LONGEST_PATTERN or _REPEATED_GROUP.search(pattern):
            raise PersonascopeError(f"{where}: {name} in {ADAPTER_CONFIG} is {short(pattern)}; expected a short pattern without a group that is repeated.")


def _patterns(config: dict[str, Any]) -> list[tuple[str, str]]:
    """The patterns by which PEFT finds modules, with the settings that hold them."""
    single = [(name, config[name]) for name in ("target_modules", "exclude_modules", "layers_pattern") if isinstance(config.get(name), str)]
    return [*single, *((name, each) for name in ("rank_pattern", "alpha_pattern") if isinstance(config.get(name), dict) for each in config[name])]


def _probe(model: PreTrainedModel, device: str) -> Tensor:
    """Token ids [1, 12] drawn from the vocabulary, always the same."""
    embedding: Any = model.get_input_embeddings()
    rows = int(embedding.weight.shape[0])
    return torch.randint(rows, (1, _PROBE_TOKENS), generator=torch.Generator().manual_seed(stable_seed("merge probe"))).to(device)


@torch.inference_mode()
def _logits(model: Any, probe: Tensor) -> Tensor:
    logits: Tensor = model(input_ids=probe, use_cache=False).logits
    return logits.float().cpu()


def _untie(wrapped: Any) -> None:
    """Weights of its own for every module that shares those which an adapter layer will add its update to: the update belongs to that layer alone."""
    changed = {id(layer.get_base_layer()) for layer in wrapped.modules() if hasattr(layer, "get_base_layer")}
    owners: dict[int, list[nn.Module]] = {}
    for module in wrapped.modules():
        for parameter in module._parameters.values():
            if parameter is not None:
                owners.setdefault(id(parameter), []).append(module)
    for key, modules in owners.items():
        if len(modules) > 1 and any(id(module) in changed for module in modules):
            for module in modules[1:]:
                for name, parameter in module._parameters.items():
                    if parameter is not None and id(parameter) == key:
                        module._parameters[name] = nn.Parameter(parameter.detach().clone(), requires_grad=False)


def _compared(unmerged: Tensor, model: PreTrainedModel, probe: Tensor, where: str) -> float:
    """The largest difference; raises PersonascopeError where it is more than adding the update to weights of the model's dtype explains."""
    dtype, logits = model.dtype, _logits(model, probe)
    apart, size, round_off = logits - unmerged, unmerged.abs().max(), torch.finfo(dtype).eps
    largest = float(apart.abs().max())
    if dtype in (torch.float32, torch.float64):
        found, limit, what = largest, max(LIMIT, ROUND_OFFS * round_off * float(size)), "by up to"
        if found > limit:
            limit = max(limit, ROUNDINGS * _of_one_rounding(model, probe, logits))
    else:
        spread = (unmerged - unmerged.mean(-1, keepdim=True)).square().mean().sqrt()
        found, limit, what = float(apart.square().mean().sqrt() / spread), HALF_ROUND_OFFS * round_off, "in relation to their spread by"
    if not found <= limit:
        raise PersonascopeError(
            f"{where} cannot be merged: the merged weights give logits that differ from those of the adapter applied by PEFT {what} {found:.2g}, expected at "
            f"most {limit:.1g}; merge it with PEFT, save the result, and give that folder."
        )
    return largest


def _of_one_rounding(model: PreTrainedModel, probe: Tensor, logits: Tensor) -> float:
    """How far the logits move when every linear layer's output is off by its last digit, up or down by lot: a merge rounds no less, and models with hidden
    values in the hundreds (Qwen's) make much of it."""
    signs = torch.Generator().manual_seed(stable_seed("merge rounding"))
    round_off = torch.finfo(model.dtype).eps

    def rounded(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return output * (1 + round_off * (2 * torch.randint(2, output.shape, generator=signs) - 1).to(output))

    hooks = [each.register_forward_hook(rounded) for each in model.modules() if isinstance(each, nn.Linear)]
    try:
        return float((_logits(model, probe) - logits).abs().max())
    finally:
        for hook in hooks:
            hook.remove()
