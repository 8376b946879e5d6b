"""Entropy of every attention row of a prompt, with and without its first token: in blocks of rows, or from one fused kernel that keeps no rows at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from personascope.extract.instruments.attention_calls import LayerCall, family_of, reading, score_blocks, wide_dtype
from personascope.extract.instruments.attention_readout import LayerSink, right_padded, run_decoder
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.hashing import stable_seed

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Path = Literal["direct", "fused"]

WINDOWS = ("mean", "first_three", "last_three", "last_one")
FIGURES = (*WINDOWS, "sink", *(f"{window}_no_sink" for window in WINDOWS))
"""Names of the last axis of EntropyReadout.values; they are columns of the table `entropy`, which says what they mean."""

_CHECK_LENGTH, _CHECK_LIMIT = 33, 1e-4


@dataclass(frozen=True)
class RowEntropy:
    """Of every row, [B, H, T]: its entropy (nats), the entropy of the row without the first key renormalised (NaN at query 0), and the first key's share."""

    entropy: Tensor
    no_sink: Tensor
    sink: Tensor


@dataclass(frozen=True)
class EntropyReadout:
    """values [B, L, H, len(FIGURES)], float32 on the CPU, NaN where no position counts; paths: how the rows of each layer were computed."""

    values: Tensor
    paths: tuple[Path, ...]


def read_entropy(model: PreTrainedModel, input_ids: Tensor, lengths: Tensor, fuse: bool) -> EntropyReadout:
    """Run the decoder once over input_ids [B, T], padded on the right to lengths [B], and reduce the entropies of all rows of every layer and head.

    `fuse` asks for the fused kernel in the layers that have one (`can_fuse`). The LM head is not run. Raises PersonascopeError for what `reading` refuses,
    for layers or heads that the configuration does not name, and for a row of no tokens.
    """
    if int(lengths.min()) < 1:
        raise PersonascopeError(f"row {int(lengths.argmin())} has {int(lengths.min())} tokens, expected at least 1")
    real = right_padded(lengths.cpu(), input_ids.shape[1])
    sink = _Entropies(model, real.to(model.device), fuse)
    with reading(model, sink):
        run_decoder(model, input_ids.to(model.device), real)
    sink.check_complete()
    return EntropyReadout(sink.values.cpu(), tuple(sink.paths[layer] for layer in range(sink.n_layers)))


def can_fuse(call: LayerCall) -> bool:
    """Whether a fused kernel can read this layer: plain causal attention, on a device whose kernel takes float32 and this head width."""
    device = call.key.device.type
    return call.mask is None and call.softcap is None and (device == "cpu" or (device == "cuda" and call.key.shape[-1] % 4 == 0))


def direct_entropy(call: LayerCall) -> RowEntropy:
    """From the scores of blocks of rows, in float64 (float32 on MPS), which neither TF32 nor a sharp head can blur; memory is bounded by the block."""
    blocks = []
    for _, scores, allowed in score_blocks(call, wide_dtype(call.key.device)):
        scores = scores.masked_fill_(~allowed, -torch.inf)
        first = scores[..., 0].clone()
        scores[..., 0] = -torch.inf
        total = scores.logsumexp(-1)
        blocks.append((first, total, torch.special.entr((scores - total[..., None]).exp_()).sum(-1)))
    first, total, behind = (torch.cat(pieces, dim=-1) for pieces in zip(*blocks, strict=True))
    behind[..., 0] = torch.nan
    return _joined(total - first, behind)


def fused_entropy(call: LayerCall) -> RowEntropy:
    """From one fused attention call in float32 whose values are the keys: H = LSE - scale * q . E_p[k], with LSE from the same kernel.

    The call leaves out the first key and query, and stays causal. Keys count from their mean, which changes no row, but keeps the two terms of H small.
    """
    query, key = call.query.float(), call.key.float()
    key = key - key[:, :, 1:].mean(2, keepdim=True)
    key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    later, keys = query[:, :, 1:], key[:, :, 1:].contiguous()
    expected, total = _KERNELS[key.device.type](later.contiguous(), keys, call.scaling)
    behind = (total - (later * expected).sum(-1) * call.scaling).clamp(min=0)
    first = (later * key[:, :, :1]).sum(-1) * call.scaling
    # query 0 sees the first key alone
    gap = torch.nn.functional.pad(total - first, (1, 0), value=-torch.inf)
    return _joined(gap, torch.nn.functional.pad(behind, (1, 0), value=torch.nan))


def check_fused(model: PreTrainedModel) -> float:
    """The largest difference of the two ways over all rows of a short random sequence, nats; raises PersonascopeError when rounding does not explain it."""
    check = _Comparison(model)
    generator = torch.Generator().manual_seed(stable_seed("fused entropy check"))
    input_ids = torch.randint(model.config.get_text_config().vocab_size, (1, _CHECK_LENGTH), generator=generator)
    with reading(model, check):
        run_decoder(model, input_ids.to(model.device), torch.ones_like(input_ids, dtype=torch.bool))
    check.check_complete()
    if not check.error <= _CHECK_LIMIT:
        raise PersonascopeError(
            f"the fused entropy of {family_of(model)} is off by {check.error:.1e} nats, expected at most {_CHECK_LIMIT:.0e}; "
            "set fused_from above the longest prompt to read all of them in blocks of rows"
        )
    return check.error


def _joined(gap: Tensor, behind: Tensor) -> RowEntropy:
    """The whole row by the chain rule; gap: log of the mass behind the first key minus the log of the first key's; behind: entropy of the row without it.

    Neither 1 - p nor a difference of large terms is formed, so a first token that takes nearly everything costs no digits.
    """
    sink, rest = torch.sigmoid(-gap), torch.sigmoid(gap)
    of_rest = torch.where(rest > 0, rest * behind, 0)
    return RowEntropy(torch.special.entr(sink) + torch.special.entr(rest) + of_rest, behind, sink)


def _fused_on_cpu(query: Tensor, key: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    expected, total = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(query, key, key, 0.0, True, scale=scale)
    return expected, total


def _fused_on_cuda(query: Tensor, key: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    expected, total, *_ = torch.ops.aten._scaled_dot_product_efficient_attention(query, key, key, None, True, 0.0, True, scale=scale)
    return expected, total[..., : query.shape[2]]  # the kernel rounds the length of its sums up


_KERNELS: dict[str, Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]]] = {"cpu": _fused_on_cpu, "cuda": _fused_on_cuda}
"""Per device: expected key [B, H, T, D] and log-sum-exp of the scores [B, H, T] of causal float32 attention over query and key [B, H, T, D]."""


def _reduced(rows: RowEntropy, real: Tensor) -> Tensor:
    """The FIGURES [B, H, 9] of rows [B, H, T]; real: boolean [B, T], true from the first token to the last."""
    index, length = torch.arange(real.shape[1], device=real.device), real.sum(1, keepdim=True)
    windows = [real, real & (index < 3), real & (index >= length - 3), index == length - 1]
    behind = index > 0
    return torch.stack(
        [
            *(_mean(rows.entropy, window) for window in windows),
            _mean(rows.sink, real & behind),
            *(_mean(rows.no_sink, window & behind) for window in windows),
        ],
        dim=-1,
    )


def _mean(values: Tensor, counts: Tensor) -> Tensor:
    """Mean of values [B, H, T] where counts [B, T]; NaN where none does."""
    return values.where(counts[:, None], 0).sum(-1) / counts.sum(-1)[:, None]


class _Entropies(LayerSink):
    """Reduces the rows of every layer to the FIGURES in one preallocated tensor [B, L, H, 9]."""

    def __init__(self, model: PreTrainedModel, real: Tensor, fuse: bool) -> None:
        super().__init__(model)
        self.real, self.fuse = real, fuse
        self.paths: dict[int, Path] = {}
        self.values = torch.empty((len(real), self.n_layers, self.n_heads, len(FIGURES)), dtype=torch.float32, device=real.device)

    def read(self, call: LayerCall) -> None:
        path: Path = "fused" if self.fuse and can_fuse(call) else "direct"
        rows = fused_entropy(call) if path == "fused" else direct_entropy(call)
        self.paths[call.layer] = path
        self.values[:, call.layer] = _reduced(rows, self.real.to(call.key.device)).to(self.values)


class _Comparison(LayerSink):
    """Keeps the largest difference between the two ways, over the layers that can be fused; a NaN is infinitely far."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__(model)
        self.error = 0.0

    def read(self, call: LayerCall) -> None:
        if can_fuse(call):
            fused, direct = fused_entropy(call), direct_entropy(call)
            pairs = [(fused.entropy, direct.entropy), (fused.no_sink[..., 1:], direct.no_sink[..., 1:]), (fused.sink, direct.sink)]
            differences = [(one - other).abs().nan_to_num(nan=torch.inf).max() for one, other in pairs]
            self.error = max(self.error, *map(float, differences))
