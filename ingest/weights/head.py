"""Logits of chosen positions only: what a model's output embeddings see, without knowing what else the model does to logits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.nn import Module

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@contextmanager
def giving_head(model: PreTrainedModel, wanted: Tensor) -> Iterator[None]:
    """Within it a forward pass of the model returns logits [1, n, vocab] of the n positions that `wanted`, boolean [B, T], marks, row by row.

    Whatever follows the output embeddings (soft caps, scaling) is done to these by the model itself.
    """

    def choose(module: Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (args[0][wanted][None], *args[1:])

    handle = model.get_output_embeddings().register_forward_pre_hook(choose)
    try:
        yield
    finally:
        handle.remove()
