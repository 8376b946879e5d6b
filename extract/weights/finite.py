"""Refuses weights at the first forward pass whose numbers are not finite, and then says in which layer that begins."""

from __future__ import annotations

import re
import weakref
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from personascope.extract.weights.sharding import at_hand
from personascope.warehouse.errors import PersonascopeError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def watch(model: PreTrainedModel, name: str) -> None:
    """From here on a forward pass of `model` whose last hidden states are not finite at a real token raises PersonascopeError; so does this call for weights
    of the output embeddings that are not.

    What is looked at is a few numbers for each token beside the thousands of products behind each of them.
    """
    watcher = _Watcher(model, name)
    model.get_decoder().register_forward_hook(watcher.look, with_kwargs=True)
    if broken := _broken_weight(model.get_output_embeddings(), "the output embeddings ({})"):
        raise PersonascopeError(f"checkpoint {name}: its logits are not finite: {broken}.")


def all_finite(values: Tensor) -> bool:
    """Whether no number of `values` is NaN or infinite, in one pass that keeps nothing."""
    return values.numel() == 0 or bool(torch.isfinite(torch.stack(torch.aminmax(values.detach()))).all())


def refuse_logits(model: PreTrainedModel, name: str) -> PersonascopeError:
    """The refusal of logits that are not finite though the last hidden states are: they leave the range of the dtype in the output embeddings."""
    return PersonascopeError(f"checkpoint {name}: its logits are not finite from the output embeddings on: {_overflow(model.dtype)}.")


class FiniteLogits:
    """A logits processor of transformers that changes nothing and refuses logits that are not finite.

    The weights of the output embeddings are looked at once, at load, and the hidden states at every step: only half precision can leave its range in between.
    """

    def __init__(self, model: PreTrainedModel, name: str) -> None:
        self.model, self.name = model, name

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        if self.model.dtype == torch.float16 and not bool(torch.isfinite(scores.amax(-1)).all()):
            raise refuse_logits(self.model, self.name)
        return scores


class _Watcher:
    """Looks at what leaves the decoder; holds the model weakly, since the hook lives in one of its modules."""

    def __init__(self, model: PreTrainedModel, name: str) -> None:
        self.model, self.name, self.searching = weakref.ref(model), name, False

    def look(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        hidden = output[0] if isinstance(output, tuple) else getattr(output, "last_hidden_state", getattr(output, "logits", None))
        if self.searching or not isinstance(hidden, Tensor) or all_finite(hidden):
            return
        mask = kwargs.get("attention_mask")
        if isinstance(mask, Tensor) and mask.ndim == 2 and mask.shape[1] >= hidden.shape[1] and all_finite(hidden[mask[:, -hidden.shape[1] :].bool()]):
            return  # of padding alone, which nobody reads
        self.searching = True
        try:
            found = self._begin(module, args, kwargs)
        finally:
            self.searching = False
        raise PersonascopeError(f"checkpoint {self.name}: {found}.")

    def _begin(self, decoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Where the numbers stop being finite: the first module whose output is not, in a second pass over the same tokens."""
        found: list[tuple[str, nn.Module]] = []

        def note(name: str) -> Any:
            def hook(module: nn.Module, inputs: Any, output: Any) -> None:
                values = output[0] if isinstance(output, tuple) else output
                if not found and isinstance(values, Tensor) and values.is_floating_point() and not all_finite(values):
                    found.append((name, module))

            return hook

        handles = [module.register_forward_hook(note(name)) for name, module in decoder.named_modules() if name]
        try:
            with torch.no_grad():
                decoder(*args, **kwargs)
        finally:
            for handle in handles:
                handle.remove()
        if not found:
            return "its hidden states are not finite, and on the same tokens once more they are; expected a device that computes"
        name, module = found[0]
        place = re.search(r"(?:^|\.)(\d+)(?:\.|$)", name)
        where = (
            f"from layer {place[1]} on" if place else "from before the first layer on" if "embed" in name or name in ("wte", "wpe") else "behind the last layer"
        )
        start = f"its hidden states are not finite {where}"
        if broken := _broken_weight(module, f"{name}.{{}}"):
            return f"{start}: {broken}"
        model = self.model()
        return f"{start} ({name}): {_overflow(torch.float32 if model is None else model.dtype)}"


def _broken_weight(module: nn.Module | None, called: str) -> str:
    """The first weight of a module that is not finite, `called` so with its name, and how much of it; empty where all are."""
    if module is None:
        return ""
    with at_hand(module):
        for key, weight in module.named_parameters():
            if not all_finite(weight):
                count = int((~torch.isfinite(weight)).sum())
                return (
                    f"of the {weight.numel():,} numbers of {called.format(key)} {count:,} are NaN or infinite; expected finite weights (fetch the file again, "
                    "or train with a smaller learning rate)"
                )
    return ""


def _overflow(dtype: torch.dtype) -> str:
    kind = str(dtype).removeprefix("torch.")
    if dtype == torch.float16:
        return f"its sums leave the range of float16 (at most {torch.finfo(dtype).max:.0f}); load it as bfloat16 or float32 (--dtype)"
    return f"its sums leave the range of {kind}; expected weights that give finite numbers, or a wider dtype (--dtype)"
