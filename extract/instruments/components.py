"""What a logit is made of: heads, MLPs, embeddings and biases, found in any decoder-only model by how tensors flow, and checked on a short probe."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from personascope.extract.instruments.attention_calls import family_of
from personascope.extract.instruments.attention_readout import right_padded, run_decoder
from personascope.extract.instruments.residual import ResidualStream, Site, capturing, residual_stream
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.hashing import stable_seed

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ROWS_AT_ONCE = 2**26  # numbers of a block of logits
_CHECK_LENGTHS = (20, 13)


@dataclass(frozen=True)
class Norm:
    """A norm with its scale frozen is linear: (x - mean if centred) * gain * scale + bias, where only `scale` depends on what was normed.

    gain, bias [d], float32. Read off from what the module does, so that no spelling of a norm (1 + weight, no weight, LayerNorm) is special.
    """

    module: nn.Module
    gain: Tensor
    bias: Tensor
    centred: bool

    def scale(self, taken: Tensor, given: Tensor) -> Tensor:
        """The factor [..., 1] under which `taken` [..., d] became `given`, by least squares."""
        direction = self._centre(taken.float()) * self.gain
        along = (direction * (given.float() - self.bias)).sum(-1, keepdim=True)
        return along / direction.square().sum(-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)

    def linear(self, vectors: Tensor, scale: Tensor) -> Tensor:
        """What `vectors` [..., d], a part of what was normed, add to the result; the bias is a part of its own."""
        return self._centre(vectors) * self.gain * scale

    def back(self, directions: Tensor, scale: Tensor) -> Tensor:
        """Directions [..., d] such that v . back(d) = linear(v) . d."""
        return self._centre(directions * self.gain * scale)

    def _centre(self, vectors: Tensor) -> Tensor:
        return vectors - vectors.mean(-1, keepdim=True) if self.centred else vectors


@dataclass(frozen=True)
class Components:
    """The parts of a model that write to the residual stream and read it out.

    projections: per layer the module that maps the concatenated outputs of the heads [.., H * D] to what attention writes; after: per layer the norm that this
    passes before it is added (Gemma 2, OLMo 2), None where it is added as it is.
    """

    stream: ResidualStream
    projections: tuple[nn.Module, ...]
    after: tuple[Norm | None, ...]
    final: Norm
    unembedding: Tensor
    unembedding_bias: Tensor | None
    softcap: float | None
    n_heads: int
    errors: dict[str, float] = field(default_factory=dict)

    @property
    def model(self) -> PreTrainedModel:
        return self.stream.model

    @property
    def n_layers(self) -> int:
        return len(self.projections)

    def head_weights(self, layer: int) -> Tensor:
        """[H, D, d] float32: what each head's output is multiplied with."""
        module: Any = self.projections[layer]
        weight = module.weight.float().T if isinstance(module, nn.Linear) else module.weight.float()
        return weight.reshape(self.n_heads, -1, weight.shape[1])

    def head_bias(self, layer: int) -> Tensor | None:
        bias: Tensor | None = getattr(self.projections[layer], "bias", None)
        return None if bias is None else bias.float()

    def logits(self, states: Tensor) -> Tensor:
        """Logits [n, vocab] float32 of residual vectors [n, d]: the model's own final norm, then `unembed`; for a few rows at once."""
        return self.unembed(self.final.module(states.to(self.model.dtype)))

    def unembed(self, normed: Tensor) -> Tensor:
        """Logits [n, vocab] float32 of what leaves the final norm [n, d], with the model's bias and soft cap."""
        logits = normed.float() @ self.unembedding.float().T
        if self.unembedding_bias is not None:
            logits = logits + self.unembedding_bias.float()
        return logits if self.softcap is None else torch.tanh(logits / self.softcap) * self.softcap

    def blocks_of(self, states: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """The logits of states [n, d] in blocks of rows, so that no [n, vocab] tensor is ever there."""
        rows = max(1, ROWS_AT_ONCE // len(self.unembedding))
        for start in range(0, len(states), rows):
            yield slice(start, start + rows), self.logits(states[start : start + rows])


@dataclass
class HeadCapture:
    """Outputs of the heads, z[layer] [B, P, H * D] on the model's device in its dtype, at positions [B, P] (-1: without meaning)."""

    positions: Tensor
    z: dict[int, Tensor] = field(default_factory=dict)


@contextmanager
def capturing_heads(components: Components, positions: Tensor, layers: Collection[int] | None = None) -> Iterator[HeadCapture]:
    """Within it a forward pass leaves the outputs of the heads at positions [B, P], in `layers` (all by default)."""
    capture = HeadCapture(positions)

    def hook(layer: int) -> Any:
        def keep(module: nn.Module, args: tuple[Any, ...]) -> None:
            index = positions.to(args[0].device).clamp(min=0)[:, :, None].expand(-1, -1, args[0].shape[-1])
            capture.z[layer] = args[0].gather(1, index)

        return keep

    wanted = range(components.n_layers) if layers is None else sorted(layers)
    handles = [components.projections[layer].register_forward_pre_hook(hook(layer)) for layer in wanted]
    try:
        yield capture
    finally:
        for handle in handles:
            handle.remove()


def find_components(model: PreTrainedModel) -> Components:
    """Find what writes to the residual stream of `model` and reads it out, and check on two short random sequences that the parts make the whole.

    Errors, relative to the size of the numbers and held to a few round-offs of the dtype:
    - those of `residual_stream`;
    - `heads`: the sum of the heads' parts and the bias beside what attention adds;
    - `logits`: final norm and unembedding of the last residual beside the model's own logits.
    Raises PersonascopeError naming the model and what does not fit.
    """
    stream = residual_stream(model, ["attn_out", "mlp_out"])
    lengths = torch.tensor(_CHECK_LENGTHS)
    longest = int(lengths.max())
    generator = torch.Generator().manual_seed(stable_seed("components self-check"))
    tokens = torch.randint(model.config.get_text_config().vocab_size, (len(lengths), longest), generator=generator).to(model.device)
    real = right_padded(lengths, longest)
    projections = _projections(model, stream, tokens, real)
    config = model.config.get_text_config()
    head = model.get_output_embeddings()
    if head is None or not hasattr(head, "weight"):
        raise PersonascopeError(f"{family_of(model)} has no output embeddings, so its logits cannot be taken apart")
    after = tuple(_after(model, block.adders["attn_out"], projection) for block, projection in zip(stream.blocks, projections, strict=True))
    components = Components(
        stream=stream,
        projections=projections,
        after=after,
        final=_norm(model, stream.final),
        unembedding=head.weight,
        unembedding_bias=getattr(head, "bias", None),
        softcap=getattr(config, "final_logit_softcapping", None),
        n_heads=config.num_attention_heads,
    )
    errors = _check(components, tokens, real)
    return Components(**{**components.__dict__, "errors": stream.errors | errors})


def _projections(model: PreTrainedModel, stream: ResidualStream, tokens: Tensor, real: Tensor) -> tuple[nn.Module, ...]:
    """Of every layer the linear map whose output is the output of its attention module."""
    config = model.config.get_text_config()
    found: dict[int, nn.Module] = {}
    latest: dict[int, list[tuple[nn.Module, Tensor]]] = {block.layer: [] for block in stream.blocks}
    handles = []
    for block in stream.blocks:
        attention = block.branches["attn_out"]

        def note(module: nn.Module, args: Any, output: Any, layer: int = block.layer) -> None:
            if isinstance(output, Tensor):
                latest[layer].append((module, output))

        def choose(module: nn.Module, args: Any, output: Any, layer: int = block.layer) -> None:
            out = output[0] if isinstance(output, tuple) else output
            for each, given in latest.pop(layer, []):
                if given.data_ptr() == out.data_ptr() and given.shape == out.shape:
                    found.setdefault(layer, each)

        handles += [child.register_forward_hook(note) for child in attention.modules() if hasattr(child, "weight") and child.weight.ndim == 2]
        handles.append(attention.register_forward_hook(choose))
    try:
        run_decoder(model, tokens, real.to(model.device))
    finally:
        for handle in handles:
            handle.remove()
    for block in stream.blocks:
        module: Any = found.get(block.layer)
        width = None if module is None else module.weight.shape[1 if isinstance(module, nn.Linear) else 0]
        if width is None or width % config.num_attention_heads:
            raise PersonascopeError(
                f"{family_of(model)} has no output projection of {config.num_attention_heads} heads at the end of the attention of layer {block.layer}, "
                "so its heads cannot be told apart"
            )
    return tuple(found[block.layer] for block in stream.blocks)


def _after(model: PreTrainedModel, adder: nn.Module, projection: nn.Module) -> Norm | None:
    """The norm between a projection and the residual stream, where the module that adds is another one than the attention around the projection."""
    return None if any(child is projection for child in adder.modules()) else _norm(model, adder)


def _norm(model: PreTrainedModel, module: nn.Module) -> Norm:
    """What a norm does, read off from what comes out for ones and for alternating ones."""
    ones = torch.ones(model.config.get_text_config().hidden_size, device=model.device)
    signs = ones.clone()
    signs[1::2] = -1
    exact = copy.deepcopy(module).float()
    with torch.inference_mode():
        of_zeros, of_ones, of_signs = (exact(vector[None])[0] for vector in (0 * ones, ones, signs))
    gain = (of_signs - of_zeros) * signs
    centred = bool((of_ones - of_zeros).abs().max() < 1e-3 * gain.abs().max())
    if not centred and not torch.allclose(of_ones - of_zeros, gain, rtol=1e-2, atol=1e-3 * float(gain.abs().max())):
        raise PersonascopeError(
            f"{family_of(model)} has a norm ({type(module).__name__}) that is neither an RMS norm nor a layer norm; its parts cannot be told apart"
        )
    return Norm(module, gain, of_zeros, centred)


def _check(components: Components, tokens: Tensor, real: Tensor) -> dict[str, float]:
    """The errors of `find_components`; raises PersonascopeError where one is larger than rounding explains."""
    model = components.model
    positions = torch.arange(tokens.shape[1]).expand(len(tokens), -1)
    kept = real.to(model.device)
    sites: list[Site] = ["attn_out", "resid_post"]
    with (
        capturing_heads(components, positions) as heads,
        capturing(components.stream.blocks, range(components.n_layers), sites, positions) as capture,
    ):
        run_decoder(model, tokens, real.to(model.device))
    with torch.inference_mode():
        worst = 0.0
        for layer in range(components.n_layers):
            z = heads.z[layer].float().unflatten(-1, (components.n_heads, -1))
            weights = components.head_weights(layer)
            whole, size = torch.einsum("bphk,hkd->bpd", z, weights), torch.einsum("bphk,hkd->bpd", z.abs(), weights.abs())
            if (bias := components.head_bias(layer)) is not None:
                whole, size = whole + bias, size + bias.abs()
            if (after := components.after[layer]) is not None:
                scale = after.scale(whole, capture.at[layer, "attn_out"])
                whole, size = after.linear(whole, scale) + after.bias, (size.amax(-1, keepdim=True) * after.gain.abs() * scale.abs())
            apart = (whole - capture.at[layer, "attn_out"]).abs() / size.clamp(min=torch.finfo(torch.float32).tiny)
            worst = max(worst, float(apart[kept].nan_to_num(nan=torch.inf).max()))
        rows = capture.at[components.n_layers - 1, "resid_post"][kept]
        expected = model(input_ids=tokens, attention_mask=kept, use_cache=False).logits[kept].float()
        found = components.logits(rows)
    spread = expected.abs().amax(-1, keepdim=True)
    errors = {"heads": worst, "logits": float(((found - expected).abs() / spread).nan_to_num(nan=torch.inf).max())}
    roundoff = torch.finfo(model.dtype).eps
    for name, limit in {"heads": 8 * roundoff, "logits": 16 * roundoff}.items():
        if not errors[name] <= limit:
            raise PersonascopeError(
                f"the parts of {family_of(model)} do not make the whole: off by {errors[name]:.1e} ({name}), expected at most {limit:.1e}; "
                "its logits cannot be taken apart"
            )
    return errors
