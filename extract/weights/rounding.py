"""Weights in 4 bits: linear layers are rounded by bitsandbytes as they are loaded, for models whose weights as stored fit nowhere."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from personascope.warehouse.errors import PersonascopeError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from personascope.ingest.weights.checkpoints import Checkpoint

EXTRA = "bits"
_OWN_PRODUCTS = "support_avx512bf16_for_cpu"  # an attribute of every layer that bitsandbytes rounded


def rounding(checkpoint: Checkpoint, dtype: str) -> dict[str, Any]:
    """What transformers is told of the weights: nothing where they are read as stored, else NF4 (Dettmers et al. 2023), multiplied in the model's `dtype`.

    Raises PersonascopeError where bitsandbytes is missing.
    """
    if checkpoint.bits is None:
        return {}
    if find_spec("bitsandbytes") is None:
        raise PersonascopeError(f"{checkpoint.name}: {checkpoint.bits} bits need bitsandbytes, which is not installed: pip install 'personascope[{EXTRA}]'")
    from transformers import BitsAndBytesConfig

    return {"quantization_config": BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)}


def multiply_as_typed(model: PreTrainedModel) -> None:
    """Keeps bitsandbytes from its own products on processors with bfloat16 arithmetic.

    They are in bfloat16 whatever dtype was asked for, 1% from those of any other machine, and end in an error where a layer's width is no multiple of 64.
    """
    for module in model.modules():
        if hasattr(module, _OWN_PRODUCTS):
            setattr(module, _OWN_PRODUCTS, False)
