"""Weights in 4 or 8 bits: linear layers are rounded by bitsandbytes as they are loaded, for models whose weights as stored fit nowhere."""

from __future__ import annotations

from importlib.util import find_spec
from types import MethodType
from typing import TYPE_CHECKING, Any

import torch

from personascope.warehouse.errors import PersonascopeError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from personascope.ingest.weights.checkpoints import Checkpoint

EXTRA = "bits"
COMPARED = 1 << 20  # weights of a layer; a multiple of every size of block
_OWN_PRODUCTS = "support_avx512bf16_for_cpu"  # an attribute of every layer that bitsandbytes rounded to 4 bits
_SCALES = "SCB"  # one of the weights of every layer that it rounded to 8


def rounding(checkpoint: Checkpoint, dtype: str) -> dict[str, Any]:
    """What transformers is told of the weights: nothing where they are read as stored, else NF4 (Dettmers et al. 2023), or in 8 bits one scale for each row of
    a layer (Dettmers et al. 2022); multiplied in the model's `dtype`.

    Raises PersonascopeError where bitsandbytes is missing.
    """
    if checkpoint.bits is None:
        return {}
    if find_spec("bitsandbytes") is None:
        raise PersonascopeError(f"{checkpoint.name}: {checkpoint.bits} bits need bitsandbytes, which is not installed: pip install 'personascope[{EXTRA}]'")
    from transformers import BitsAndBytesConfig

    if checkpoint.bits == 8:
        return {"quantization_config": BitsAndBytesConfig(load_in_8bit=True)}
    return {"quantization_config": BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)}


def make_exact(model: PreTrainedModel, called: str) -> None:
    """Has bitsandbytes multiply in the dtype that was asked for, and makes sure that it reads the weights as it wrote them; nothing where none is rounded.

    In 8 bits its own products (LLM.int8) round inputs as well, by the outliers of a whole batch, so that a row would hang on its neighbours. In 4 bits they are
    in bfloat16 on processors with such arithmetic, 1% from those of any other machine; on those with AVX-512 version 0.50 takes the scale of other blocks at
    widths that are no multiple of 64. Raises PersonascopeError where a layer reads as other numbers than its levels and scales say.
    """
    checked = set()
    for name, module in model.named_modules():
        if hasattr(getattr(module, "weight", None), _SCALES):
            hooked = "_old_forward" if hasattr(module, "_old_forward") else "forward"  # what moves inputs between devices calls the first
            setattr(module, hooked, MethodType(_product_with_whole_weights, module))
        if not hasattr(module, _OWN_PRODUCTS):
            continue
        setattr(module, _OWN_PRODUCTS, False)
        weight: Any = module.weight
        if weight.quant_state.shape not in checked and not weight.is_meta:
            checked.add(weight.quant_state.shape)
            _expect_own_numbers(weight, f"{called}: {name}, of width {weight.quant_state.shape[-1]},")


def _product_with_whole_weights(layer: Any, inputs: torch.Tensor) -> torch.Tensor:
    """What a layer in 8 bits gives: its weights, each a whole number times the scale of its row, in the dtype of the inputs, which are not rounded."""
    from bitsandbytes.functional import int8_vectorwise_dequant

    weight = layer.weight
    scales = getattr(weight, _SCALES) if getattr(weight, _SCALES) is not None else layer.state.SCB
    bias = None if layer.bias is None else layer.bias.to(inputs.dtype)
    return torch.nn.functional.linear(inputs, int8_vectorwise_dequant(weight.data, scales).to(inputs.dtype), bias)


def _expect_own_numbers(weight: Any, what: str) -> None:
    """Two levels stand in a byte, the first in its upper half; each block of weights has a scale. The first COMPARED are looked at, since a byte becomes many
    in between."""
    import bitsandbytes

    state = weight.quant_state
    held = weight.data.flatten()[: COMPARED // 2]
    levels = torch.stack((held >> 4, held & 15), -1).flatten().long()
    expected = state.code[levels] * state.absmax[: COMPARED // state.blocksize].repeat_interleave(state.blocksize)[: len(levels)]
    read = bitsandbytes.functional.dequantize_4bit(weight.data, state).flatten()[: len(levels)].float()
    if not torch.allclose(read, expected, rtol=0.01):
        raise PersonascopeError(
            f"{what} is read wrongly by bitsandbytes {bitsandbytes.__version__} on this device (by up to {(read - expected).abs().max():.2g} where its "
            f"largest number is {expected.abs().max():.2g}); expected a GPU, another version of it, or the checkpoint as it is stored"
        )
