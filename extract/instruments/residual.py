"""Reads the residual stream of any decoder-only model: layers and what each adds are found by how tensors flow, and checked on a short probe."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor, nn

from personascope.extract.instruments.attention_calls import family_of
from personascope.extract.instruments.attention_readout import right_padded, run_decoder
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.hashing import stable_seed

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Site = Literal["resid_pre", "attn_out", "mlp_out", "resid_post"]
SITES: tuple[Site, ...] = get_args(Site)
Change = Callable[[Tensor], Tensor]

_KINDS: dict[Site, re.Pattern[str]] = {"attn_out": re.compile("attn|attention"), "mlp_out": re.compile("mlp|ffn|feed_?forward|moe")}
_BESIDES = re.compile("norm|dropout|drop$|^ln|_ln")  # norms and dropouts are named after the module they stand beside
_CHECK_LENGTHS = (24, 17)


@dataclass(frozen=True)
class Block:
    """One decoder layer; of attn_out and mlp_out `branches` holds the attention or MLP module, `adders` the one whose output is added to the residual stream.

    The two differ where a norm stands between them (Gemma 2, OLMo 2).
    """

    layer: int
    module: nn.Module
    branches: dict[Site, nn.Module]
    adders: dict[Site, nn.Module]


@dataclass(frozen=True)
class ResidualStream:
    """The decoder layers of a model and its final norm, ready to be read, with the largest errors of the probe by name."""

    model: PreTrainedModel
    blocks: tuple[Block, ...]
    final: nn.Module
    errors: dict[str, float] = field(default_factory=dict)


class _Stop(BaseException):
    """Ends a forward pass after the last wanted layer; no error, so that code which handles errors lets it through."""


def residual_stream(model: PreTrainedModel, sites: Collection[Site]) -> ResidualStream:
    """Find the decoder layers of `model`, and what adds to the stream where `sites` asks for it, and check both on two short random sequences.

    Errors, each relative to the dtype's own size of number, and held to a few of its round-offs:
    - `next`: resid_post of a layer beside resid_pre of the next, exactly the same;
    - `hidden_states`: resid_pre beside the hidden states of a plain forward pass, the last resid_post through the final norm beside its last one;
    - `sum` (attn_out or mlp_out asked for): resid_pre + attn_out + mlp_out beside resid_post.
    Raises PersonascopeError naming the model and what cannot be found or does not hold.
    """
    if model.training:
        raise PersonascopeError(f"{family_of(model)} is in training mode, so dropout would change its residual stream")
    lengths = torch.tensor(_CHECK_LENGTHS)
    longest = int(lengths.max())
    generator = torch.Generator().manual_seed(stable_seed("residual self-check"))
    input_ids = torch.randint(model.config.get_text_config().vocab_size, (len(lengths), longest), generator=generator).to(model.device)
    real = right_padded(lengths, longest)
    layers = _layers(model)
    added = [site for site in _KINDS if set(sites) & _KINDS.keys()]
    branches = [{site: _child(model, module, layer, site) for site in added} for layer, module in enumerate(layers)]
    flow = _Flow(layers, branches, model.get_decoder())
    states = flow.watch(lambda: run_decoder(model, input_ids, real.to(model.device), output_hidden_states=True).hidden_states)
    if states is None or len(states) != len(layers) + 1:
        raise PersonascopeError(f"{family_of(model)} returns no hidden states of its {len(layers)} layers, so its residual stream cannot be checked")
    blocks = tuple(Block(layer, module, branches[layer], {site: flow.adder(layer, site) for site in added}) for layer, module in enumerate(layers))
    positions = torch.arange(longest).where(real, -1)
    with capturing(blocks, range(len(blocks)), ["resid_pre", *added, "resid_post"], positions) as capture:
        run_decoder(model, input_ids, real.to(model.device))
    return ResidualStream(model, blocks, flow.final, _checked(model, capture, states, flow.final, real))


@dataclass
class Capture:
    """What a forward pass left at wanted layers and sites, on the model's device, float32.

    at[layer, site] [B, P, d]: the vector at each position, without meaning where the position was -1; mean[layer, site] [B, d]: the mean over
    the tokens of `averaged`, without meaning where it has none.
    """

    positions: Tensor
    averaged: Tensor | None
    at: dict[tuple[int, Site], Tensor] = field(default_factory=dict)
    mean: dict[tuple[int, Site], Tensor] = field(default_factory=dict)

    def keep(self, layer: int, site: Site, hidden: Tensor) -> None:
        """Take the wanted tokens out of hidden [B, T, d]."""
        index = self.positions.to(hidden.device).clamp(min=0)[:, :, None].expand(-1, -1, hidden.shape[-1])
        self.at[layer, site] = hidden.gather(1, index).float()
        if self.averaged is not None:
            chosen = self.averaged.to(hidden.device)
            total = hidden.float().masked_fill(~chosen[:, :, None], 0).sum(1)
            self.mean[layer, site] = total / chosen.sum(1, keepdim=True).clamp(min=1)


@contextmanager
def capturing(
    blocks: Sequence[Block],
    layers: Collection[int],
    sites: Collection[Site],
    positions: Tensor,
    averaged: Tensor | None = None,
    capture: Capture | None = None,
) -> Iterator[Capture]:
    """Within it one forward pass fills the capture and ends, with the block, after the last wanted layer.

    positions [B, P]: token indices, filled up with -1; averaged: boolean [B, T], the tokens to average over; capture: one that keeps otherwise.
    """
    capture = Capture(positions, averaged) if capture is None else capture
    last = max(layers)
    handles = []
    for layer in sorted(layers):
        block = blocks[layer]
        if "resid_pre" in sites:
            stops = layer == last and set(sites) == {"resid_pre"}
            handles.append(block.module.register_forward_pre_hook(_pre_hook(capture, layer, stops), with_kwargs=True))
        for site, module in block.adders.items():
            if site in sites:
                handles.append(module.register_forward_hook(_hook(capture, layer, site)))
        if "resid_post" in sites or layer == last:
            handles.append(block.module.register_forward_hook(_hook(capture, layer, "resid_post" if "resid_post" in sites else None, layer == last)))
    try:
        yield capture
    except _Stop:
        pass
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def changing(blocks: Sequence[Block], changes: Mapping[tuple[int, Site], Change]) -> Iterator[None]:
    """Within it every forward pass goes on from what the changes make of the vectors [B, T, d] at their layers and sites."""
    handles = []
    for (layer, site), change in changes.items():
        block = blocks[layer]
        if site == "resid_pre":
            handles.append(block.module.register_forward_pre_hook(_input_change(change), with_kwargs=True))
        else:
            module = block.module if site == "resid_post" else block.adders[site]
            handles.append(module.register_forward_hook(_output_change(change)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _input_change(change: Change) -> Callable[..., Any]:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if args:
            return (change(args[0]), *args[1:]), kwargs
        return args, kwargs | {"hidden_states": change(kwargs["hidden_states"])}

    return hook


def _output_change(change: Change) -> Callable[..., Any]:
    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

    return hook


def _pre_hook(capture: Capture, layer: int, stops: bool) -> Callable[..., None]:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        capture.keep(layer, "resid_pre", _input(args, kwargs))
        if stops:
            raise _Stop

    return hook


def _hook(capture: Capture, layer: int, site: Site | None, stops: bool = False) -> Callable[..., None]:
    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if site is not None:
            capture.keep(layer, site, _first(output))
        if stops:
            raise _Stop

    return hook


def _input(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return args[0] if args else kwargs.get("hidden_states")


def _first(output: Any) -> Any:
    return output[0] if isinstance(output, tuple) else output


def _layers(model: PreTrainedModel) -> list[nn.Module]:
    count = model.config.get_text_config().num_hidden_layers
    decoder = model.get_decoder()
    lists = [child for child in decoder.children() if isinstance(child, nn.ModuleList) and len(child) == count]
    if len(lists) != 1:
        raise PersonascopeError(f"{family_of(model)} has {len(lists)} lists of {count} decoder layers, expected 1, so its residual stream cannot be read")
    return list(lists[0])


def _child(model: PreTrainedModel, block: nn.Module, layer: int, site: Site) -> nn.Module:
    """The attention or MLP module of a layer, by its name there."""
    found = {name: child for name, child in block.named_children() if _KINDS[site].search(name.lower()) and not _BESIDES.search(name.lower())}
    if len(found) != 1:
        raise PersonascopeError(
            f"{family_of(model)} has {len(found)} modules for {site} in layer {layer} ({', '.join(found) or type(block).__name__}), expected 1; "
            "resid_pre and resid_post can be read"
        )
    return next(iter(found.values()))


class _Flow:
    """Follows tensors from module to module in one forward pass: what a norm takes straight from the attention is what is added (Gemma 2, OLMo 2)."""

    def __init__(self, layers: Sequence[nn.Module], branches: Sequence[dict[Site, nn.Module]], decoder: nn.Module) -> None:
        self.layers, self.branches, self.decoder = layers, branches, decoder
        self.ends: dict[tuple[int, Site], tuple[nn.Module, Tensor]] = {}
        self.final: nn.Module = nn.Identity()
        self._last: Tensor | None = None

    def adder(self, layer: int, site: Site) -> nn.Module:
        """The module whose output leaves the branch."""
        return self.ends[layer, site][0]

    def watch(self, forward: Callable[[], Any]) -> Any:
        """Run `forward` and note the end of every branch and the module that takes the last layer's output."""
        handles = []
        for layer, branch in enumerate(self.branches):
            for child in self.layers[layer].children():
                if not isinstance(child, nn.Dropout):  # changes nothing in evaluation mode, and Phi has one for both branches
                    handles.append(child.register_forward_hook(self._follow(layer, branch), with_kwargs=True))
        handles.append(self.layers[-1].register_forward_hook(self._note_last))
        handles += [child.register_forward_pre_hook(self._note_final, with_kwargs=True) for child in self.decoder.children()]
        try:
            return forward()
        finally:
            for handle in handles:
                handle.remove()

    def _follow(self, layer: int, branch: dict[Site, nn.Module]) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            for site, start in branch.items():
                end = self.ends.get((layer, site))
                if module is start or (end is not None and _input(args, kwargs) is end[1]):
                    self.ends[layer, site] = module, _first(output)

        return hook

    def _note_last(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self._last = _first(output)

    def _note_final(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._last is not None and _input(args, kwargs) is self._last:
            self.final = module


def _checked(model: PreTrainedModel, capture: Capture, states: Sequence[Tensor], final: nn.Module, real: Tensor) -> dict[str, float]:
    """The errors of `residual_stream`; raises PersonascopeError where one is larger than rounding explains."""
    kept = real.to(model.device)
    n_layers = len(states) - 1
    at = capture.at

    def distance(found: Tensor, expected: Tensor, size: Tensor | None = None) -> float:
        """Largest difference, relative to `size`, or else to the length of the token's vector."""
        lengths = expected.float().norm(dim=-1, keepdim=True) if size is None else size
        apart = (found.float() - expected.float()).abs() / lengths.clamp(min=torch.finfo(torch.float32).tiny)
        return float(apart[kept].nan_to_num(nan=torch.inf).max())

    with torch.inference_mode():
        normed = final(at[n_layers - 1, "resid_post"].to(states[-1].dtype))
    pairs = [(at[layer, "resid_pre"], states[layer]) for layer in range(n_layers)] + [(normed, states[-1])]
    errors = {
        "next": max((distance(at[layer, "resid_post"], at[layer + 1, "resid_pre"]) for layer in range(n_layers - 1)), default=0.0),
        "hidden_states": max(distance(found, expected) for found, expected in pairs),
    }
    if (0, "attn_out") in at:
        errors["sum"] = 0.0
        for layer in range(n_layers):
            parts = [at[layer, site] for site in ("resid_pre", "attn_out", "mlp_out")]
            size = torch.stack(parts).abs().sum(0)
            errors["sum"] = max(errors["sum"], distance(sum(parts[1:], parts[0]), at[layer, "resid_post"], size))
    roundoff = torch.finfo(states[-1].dtype).eps
    for name, limit in {"next": 0.0, "hidden_states": 16 * roundoff, "sum": 4 * roundoff}.items():
        if not errors.get(name, 0.0) <= limit:
            reading = "what attention and MLP add to it cannot be read" if name == "sum" else "it cannot be read"
            raise PersonascopeError(f"the residual stream of {family_of(model)} is off by {errors[name]:.1e} ({name}), expected at most {limit:.1e}: {reading}")
    return errors
