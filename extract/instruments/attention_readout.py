"""The attention readout: region fractions, first-token attention and entropy of chosen query rows, and the check of it at load."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from personascope.extract.instruments.attention_calls import LayerCall, attention_implementation, attention_rows, family_of, reading
from personascope.extract.texts.regions import REGIONS
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.hashing import stable_seed

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_CHECK_LENGTHS = (24, 17)
_BOS, _N_COLUMNS = len(REGIONS), len(REGIONS) + 1


@dataclass(frozen=True)
class Readout:
    """Statistics of attention rows, float32 on the CPU, axes batch, position, layer, head; NaN where the position was -1.

    fractions [B, P, L, H, len(REGIONS)]: sum of the row over the keys of each region; bos [B, P, L, H]: the row at the first real token;
    entropy [B, P, L, H] in nats; row_sum [B, P, L, H]: sum of the row, 1 up to rounding.
    """

    fractions: Tensor
    bos: Tensor
    entropy: Tensor
    row_sum: Tensor


def read_attention(model: PreTrainedModel, input_ids: Tensor, present: Tensor, positions: Tensor, regions: Tensor) -> Readout:
    """Run the decoder once over a batch and read the attention rows of the wanted query positions in every layer and head.

    input_ids, regions: [B, T]; regions are codes into REGIONS, ignored on padding. present: [B], the lengths of rows padded on the right,
    or [B, T], an attention mask with one run of real tokens in each row (padding on the left costs SDPA its fused kernels). positions:
    [B, P], absolute indices into T, filled up with -1. The LM head is not run. Raises PersonascopeError for a model in training mode, a
    family whose rows cannot be read this way, and positions or regions that do not fit the real tokens.
    """
    real = present.to("cpu", torch.bool) if present.ndim == 2 else right_padded(present.cpu(), input_ids.shape[1])
    with reading_rows(model, input_ids, real, positions, regions) as readout:
        run_decoder(model, input_ids.to(model.device), real.to(model.device))
    return readout()


@contextmanager
def reading_rows(model: PreTrainedModel, input_ids: Tensor, real: Tensor, positions: Tensor, regions: Tensor) -> Iterator[Callable[[], Readout]]:
    """Within it the caller runs the decoder once over input_ids, for whatever else it wants to know; what is yielded gives the readout of it afterwards.

    real: boolean [B, T]; the rest as in `read_attention`.
    """
    wanted, codes = positions.to("cpu", torch.long), regions.to("cpu", torch.long)
    _check_batch(input_ids, real, wanted, codes)
    statistics = _Statistics(model, wanted.to(model.device), _indicator(real, codes).to(model.device))
    with reading(model, statistics):
        yield lambda: statistics.readout(wanted)


def self_check(model: PreTrainedModel) -> dict[str, float]:
    """Compare every row of two short random sequences with two independent computations; the largest errors, by name.

    - `*_vs_float64`: a float64 softmax over the same queries and keys, with repeated KV heads and a mask built from indices.
    - `*_vs_eager`: the probabilities that transformers' eager attention returns (`mean_vs_eager`: mean total variation of a row).
    Raises PersonascopeError when an error is larger than the dtype explains. A logit off by e moves a probability by at most e / 2, and a
    logit is off by a few round-offs of the largest sum |q||k|, which is measured here (M). Eager attention repeats the forward pass with
    other roundings: 28 random layers in float32 reach 22 M round-offs, and get 64. In half precision single sharp rows move freely (up to
    0.99), so the mean is held instead: 28 random layers reach 0.4 M round-offs of that dtype and 0.09 in all, and get 2 M and 0.2.
    """
    lengths = torch.tensor(_CHECK_LENGTHS)
    longest = int(lengths.max())
    generator = torch.Generator().manual_seed(stable_seed("readout self-check"))
    vocabulary = model.config.get_text_config().vocab_size
    input_ids = torch.randint(vocabulary, (len(lengths), longest), generator=generator)
    real = right_padded(lengths, longest)
    positions = torch.arange(longest).where(real, -1)
    regions = torch.arange(longest).remainder(len(REGIONS)).expand(len(lengths), -1)

    device = model.device
    check = _Check(model, positions.to(device), _indicator(real, regions).to(device), real)
    with reading(model, check):
        run_decoder(model, input_ids.to(device), real.to(device))
    readout = check.readout(positions)
    with attention_implementation(model, "eager"):
        eager = run_decoder(model, input_ids.to(device), real.to(device), attention_mask=real.to(device), output_attentions=True).attentions
    if eager is None or len(eager) != check.n_layers:
        raise PersonascopeError(f"{family_of(model)} returns no eager attention for some layer, so its readout cannot be checked")

    kept = real[:, None, :].expand(-1, check.n_heads, -1)
    distances = torch.stack([_distance(eager[layer].cpu(), check.rows[layer])[kept] for layer in range(check.n_layers)])
    errors = {
        "rows_vs_float64": check.rows_error,
        "figures_vs_float64": check.figures_error(readout),
        "row_sum": float(_distance(readout.row_sum, torch.ones(()))[real].max()),
        "rows_vs_eager": float(distances.max()),
        "mean_vs_eager": float(distances.sum(-1).mean() / 2),
    }
    rows_roundoff, roundoff = (torch.finfo(dtype).eps / 2 * check.magnitude for dtype in (check.rows[0].dtype, check.dtype))
    limits = {"rows_vs_float64": 1e-6 + 4 * rows_roundoff, "figures_vs_float64": 2e-6 + 32 * rows_roundoff, "row_sum": 1e-5}
    if check.dtype == torch.float32:
        limits["rows_vs_eager"] = 1e-5 + 64 * roundoff
    else:
        limits["mean_vs_eager"] = min(0.2, torch.finfo(check.dtype).eps + 2 * roundoff)
    for name, limit in limits.items():
        if not errors[name] <= limit < torch.inf:
            dtype = str(check.dtype).removeprefix("torch.")
            raise PersonascopeError(
                f"the attention readout of {family_of(model)} in {dtype} is off by {errors[name]:.1e} ({name}), expected at most {limit:.1e}"
            )
    return errors


def right_padded(lengths: Tensor, width: int) -> Tensor:
    if int(lengths.max()) > width:
        raise PersonascopeError(f"a row is {int(lengths.max())} tokens long, expected at most the {width} columns of input_ids")
    return torch.arange(width) < lengths[:, None]


def _check_batch(input_ids: Tensor, real: Tensor, positions: Tensor, regions: Tensor) -> None:
    for name, shape in {"the attention mask": real.shape, "regions": regions.shape}.items():
        if shape != input_ids.shape:
            raise PersonascopeError(f"the shape of {name} is {tuple(shape)}, expected that of input_ids, {tuple(input_ids.shape)}")
    if positions.ndim != 2 or len(positions) != len(input_ids):
        raise PersonascopeError(f"the shape of positions is {tuple(positions.shape)}, expected ({len(input_ids)}, P)")
    runs = real[:, 0].long() + (real[:, 1:] & ~real[:, :-1]).sum(1)
    if bool((runs != 1).any()):
        row = int((runs != 1).nonzero()[0])
        raise PersonascopeError(f"row {row} of the attention mask has {int(runs[row])} runs of real tokens, expected 1")
    outside = (positions < -1) | (positions >= real.shape[1])
    outside |= (positions >= 0) & ~real.gather(1, positions.clamp(0, real.shape[1] - 1))
    if bool(outside.any()):
        row, column = outside.nonzero()[0].tolist()
        raise PersonascopeError(f"query position {int(positions[row, column])} of row {row} is not one of its real tokens")
    uncoded = real & ((regions < 0) | (regions >= len(REGIONS)))
    if bool(uncoded.any()):
        row, column = uncoded.nonzero()[0].tolist()
        raise PersonascopeError(f"token {column} of row {row} has region code {int(regions[row, column])}, expected 0..{len(REGIONS) - 1}")


def _indicator(real: Tensor, regions: Tensor) -> Tensor:
    """Integers [B, T, 8]: a column of zeros and ones for each region and one for the first real token; no row reaches the padding."""
    indicator = torch.nn.functional.one_hot(regions.masked_fill(~real, 0), _N_COLUMNS)
    indicator[torch.arange(len(real)), real.int().argmax(1), _BOS] = 1
    return indicator


def run_decoder(model: PreTrainedModel, input_ids: Tensor, real: Tensor, **options: Any) -> Any:
    """The decoder's output for input_ids [B, T], real tokens as boolean [B, T], without cache and LM head.

    Under right padding no mask is passed: causality already hides the padding from every real token, and SDPA keeps its fused kernels.
    Under left padding positions count from each row's first real token.
    """
    decoder = model.get_decoder()
    if not bool(real[:, 0].all()):
        options["attention_mask"] = real
        if "position_ids" in inspect.signature(decoder.forward).parameters:
            options["position_ids"] = (real.cumsum(-1) - 1).clamp(min=0)
    with torch.inference_mode():
        return decoder(input_ids=input_ids, use_cache=False, **options)


class LayerSink(ABC):
    """A sink that refuses layers and heads other than those of the model's configuration, so that none is left out unnoticed."""

    def __init__(self, model: PreTrainedModel) -> None:
        config = model.config.get_text_config()
        self.family = family_of(model)
        self.n_layers, self.n_heads = config.num_hidden_layers, config.num_attention_heads
        self.seen: list[int] = []

    def __call__(self, call: LayerCall) -> None:
        self.seen.append(call.layer)
        if not 0 <= call.layer < self.n_layers or call.query.shape[1] != self.n_heads:
            raise PersonascopeError(
                f"{self.family} attends with {call.query.shape[1]} heads in layer {call.layer}, expected {self.n_heads} heads in layers 0..{self.n_layers - 1}"
            )
        self.read(call)

    @abstractmethod
    def read(self, call: LayerCall) -> None:
        """Reduce one layer."""

    def check_complete(self) -> None:
        """Raises PersonascopeError unless every layer was seen once."""
        if sorted(self.seen) != list(range(self.n_layers)):
            raise PersonascopeError(
                f"{self.family} sent layers {sorted(self.seen)} through transformers' attention interface, "
                f"expected each of 0..{self.n_layers - 1} once, so its rows cannot be read"
            )


class _Statistics(LayerSink):
    """A sink that reduces every layer's rows to [region fractions, bos, entropy, row_sum] in one preallocated tensor [B, P, L, H, 10]."""

    def __init__(self, model: PreTrainedModel, positions: Tensor, indicator: Tensor) -> None:
        super().__init__(model)
        self.positions, self.indicator = positions, indicator
        shape = (*positions.shape, self.n_layers, self.n_heads, _N_COLUMNS + 2)
        self.values = torch.empty(shape, dtype=torch.float32, device=positions.device)

    def read(self, call: LayerCall) -> None:
        self.record(call, attention_rows(call, self.positions.to(call.query.device)))

    def record(self, call: LayerCall, rows: Tensor) -> None:
        """Reduce the rows [B, H, P, T] of a layer."""
        sums = rows.flatten(1, 2) @ self.indicator.to(rows)
        figures = [sums.view(*rows.shape[:3], -1), torch.special.entr(rows).sum(-1, keepdim=True), rows.sum(-1, keepdim=True)]
        self.values[:, :, call.layer] = torch.cat(figures, dim=-1).transpose(1, 2).to(self.values)

    def readout(self, positions: Tensor) -> Readout:
        """What was read, in one transfer; positions [B, P] on the CPU."""
        self.check_complete()
        values = self.values.cpu()
        values[positions < 0] = torch.nan
        bos, entropy, row_sum = values[..., _BOS:].unbind(-1)
        return Readout(values[..., :_BOS], bos, entropy, row_sum)


class _Check(_Statistics):
    """Statistics that also keep the rows and compare them with a float64 softmax of its own; every real position must be wanted."""

    def __init__(self, model: PreTrainedModel, positions: Tensor, indicator: Tensor, real: Tensor) -> None:
        super().__init__(model, positions, indicator)
        self.real = real
        self.rows: dict[int, Tensor] = {}
        self.exact: dict[int, Tensor] = {}
        self.rows_error = self.magnitude = 0.0
        self.dtype = torch.float32

    def record(self, call: LayerCall, rows: Tensor) -> None:
        super().record(call, rows)
        exact, magnitude = exact_rows(call, self.real)
        self.rows[call.layer], self.exact[call.layer] = rows.cpu(), exact
        kept = self.real[:, None, :].expand(-1, self.n_heads, -1)
        self.rows_error = max(self.rows_error, float(_distance(self.rows[call.layer], exact)[kept].max()))
        self.magnitude = max(self.magnitude, magnitude)
        self.dtype = call.query.dtype

    def figures_error(self, readout: Readout) -> float:
        """Largest error of the fractions, bos and entropy."""
        exact = torch.stack([self.exact[layer] for layer in range(self.n_layers)], dim=1)
        sums = exact @ self.indicator[:, None, None].double().cpu()
        entropy = torch.special.entr(exact).sum(-1, keepdim=True)
        figures = torch.cat([sums, entropy], dim=-1).permute(0, 3, 1, 2, 4)
        found = torch.cat([readout.fractions, readout.bos[..., None], readout.entropy[..., None]], dim=-1)
        return float(_distance(found, figures)[self.real].max())


def _distance(found: Tensor, expected: Tensor) -> Tensor:
    """Absolute differences in float64; a NaN is infinitely far."""
    return (found.double() - expected.double()).abs().nan_to_num(nan=torch.inf)


def exact_rows(call: LayerCall, real: Tensor) -> tuple[Tensor, float]:
    """All rows [B, H, T, T] of a layer by a float64 softmax on the CPU, independent of the layer's mask, and the largest sum of |q||k|.

    real: boolean [B, T]; a row of a padding token is not meaningful.
    """
    query, key = call.query.double().cpu(), call.key.double().cpu()
    key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    scores = query @ key.transpose(2, 3) * call.scaling
    if call.softcap is not None:
        scores = torch.tanh(scores / call.softcap) * call.softcap
    index = torch.arange(real.shape[1])
    allowed = index <= index[:, None]
    if call.window is not None:
        allowed &= index > index[:, None] - call.window
    seen = allowed & real[:, None, None, :]
    magnitude = (query.abs() @ key.abs().transpose(2, 3) * call.scaling)[seen.expand_as(scores)].max()
    return scores.masked_fill(~seen, -torch.inf).softmax(-1), float(magnitude)
