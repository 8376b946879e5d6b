"""Direct logit attribution: what every head, MLP, bias and the embedding add to the target's logit, and where each head looks at that step."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from personascope.extract.extractors.predictions import accuracy_of, prediction_rows, say_accuracy
from personascope.extract.extractors.targets import Targeted, TargetSettings, TargetsExtractor, padded, target_items
from personascope.extract.instruments.attention_readout import reading_rows, run_decoder, self_check
from personascope.extract.instruments.components import Components, HeadCapture, capturing_heads, find_components
from personascope.extract.instruments.lens import Vocabulary, read_states, wanted_tokens
from personascope.extract.instruments.residual import Capture, capturing
from personascope.extract.job import Item
from personascope.extract.workload import Shape, Texts, Workload
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.manifest import RunSpec
from personascope.warehouse.store.writer import Rows, RunWriter

Part = tuple[int | None, str, int | None]
"""Layer, component and head of one column of contributions."""


class Attributions(TargetsExtractor[Targeted]):
    """`attributions`: direct contribution of every head, MLP, bias and the embedding to the target's logit and to its margin over the runner-up.

    The final norm is linear once its scale is frozen at the value it has, so the parts of the residual stream add up to the logit (before a soft cap); the
    column logit_error of `predictions` says how nearly. Elhage et al. 2021, A Mathematical Framework for Transformer Circuits.
    """

    name = "attributions"
    version = 1
    settings_type = TargetSettings

    @classmethod
    def workload(cls, settings: TargetSettings, texts: Texts, shape: Shape) -> Workload:
        parts = shape.n_layers * (shape.n_heads + 2) + 2  # heads, MLP and biases of each layer, the embedding and the last norm
        return Workload(texts.tokens, {"examples": texts.n, "predictions": texts.n, "attributions": texts.n * parts})

    def spec(self) -> RunSpec:
        return self.target_spec()

    def prepare(self) -> tuple[Sequence[Item[Targeted]], Mapping[str, Rows]]:
        targets, known = self.targets()
        return target_items(targets), known

    def check(self) -> Mapping[str, float]:
        self._components = find_components(self.loaded.model)
        self._vocabulary = Vocabulary(self.tokenizer)
        return self._components.errors | self_check(self.loaded.model)

    def cost(self, item: Item[Targeted]) -> float:
        return self.arithmetic.forward(item.length) + self.arithmetic.logits(2)

    def process(self, items: Sequence[Item[Targeted]]) -> Mapping[str, Rows]:
        targets = [item.value for item in items]
        components, model = self._components, self.loaded.model
        tokens, real, positions = padded(targets)
        device, layers = model.device, range(components.n_layers)
        with (
            capturing_heads(components, positions) as heads,
            capturing(components.stream.blocks, layers, ["resid_pre", "attn_out", "mlp_out", "resid_post"], positions) as capture,
            reading_rows(model, tokens, real, positions, torch.zeros_like(tokens)) as readout,
        ):
            run_decoder(model, tokens.to(device), real.to(device))
        final = capture.at[components.n_layers - 1, "resid_post"][:, 0]
        wanted = wanted_tokens(components, [each.target_id for each in targets], final)
        reading = read_states(components, final, wanted, 2)
        rivals = reading.ids[:, 0].where(reading.ids[:, 0] != wanted, reading.ids[:, 1])
        parts, values = contributions(components, capture, heads, torch.stack([wanted, rivals], dim=1))
        direct, rival = values.cpu().unbind(1)
        whole = reading.target_logit if components.softcap is None else components.softcap * torch.atanh(reading.target_logit / components.softcap)
        errors = (direct.sum(-1) - whole).abs().tolist()
        predictions = prediction_rows(targets, wanted, reading, range(len(targets)), self._vocabulary, errors)
        looks = readout()
        table = _table(targets, parts, direct, direct - rival, looks.bos[:, 0], looks.entropy[:, 0])
        return {"attributions": table, "predictions": predictions}

    def summary(self, writer: RunWriter) -> dict[str, Any]:
        found = accuracy_of(writer)
        say_accuracy(self, found)
        errors = writer.read_staged("predictions").column("logit_error").to_pylist()
        return {**found, "largest_logit_error": max(errors), **self.self_checks}


def contributions(components: Components, capture: Capture, heads: HeadCapture, tokens: Tensor) -> tuple[list[Part], Tensor]:
    """What every part adds to the logits of tokens [B, K], float32 [B, K, parts], and which parts these are.

    capture holds resid_pre of layer 0, attn_out and mlp_out of every layer and resid_post of the last one at one position each [B, 1, d]; heads the outputs
    of the heads there.
    """
    last = capture.at[components.n_layers - 1, "resid_post"][:, 0]
    normed = components.final.module(last.to(components.model.dtype))
    scale = components.final.scale(last, normed)[:, None]
    rows = components.unembedding[tokens.to(components.unembedding.device)].float()
    read = components.final.back(rows, scale)
    parts: list[Part] = [(None, "embedding", None)]
    values = [_along(capture.at[0, "resid_pre"][:, 0], read)[..., None]]
    for layer in range(components.n_layers):
        through = read
        z = heads.z[layer][:, 0].float().unflatten(-1, (components.n_heads, -1))
        weights = components.head_weights(layer)
        bias = components.head_bias(layer)
        if (after := components.after[layer]) is not None:
            written = torch.einsum("bhk,hkd->bd", z, weights)
            written = written if bias is None else written + bias
            inner = after.scale(written, capture.at[layer, "attn_out"][:, 0])[:, None]
            through = after.back(read, inner)
        by_head = torch.einsum("bhk,hkd,btd->bth", z, weights, through)
        of_bias = torch.zeros_like(by_head[..., :1])
        if bias is not None:
            of_bias = of_bias + (through @ bias)[..., None]
        if after is not None:
            of_bias = of_bias + (read @ after.bias)[..., None]
        values += [by_head, of_bias, _along(capture.at[layer, "mlp_out"][:, 0], read)[..., None]]
        parts += [(layer, "head", head) for head in range(components.n_heads)] + [(layer, "attn_bias", None), (layer, "mlp", None)]
    of_bias = (rows @ components.final.bias)[..., None]
    if components.unembedding_bias is not None:
        of_bias = of_bias + components.unembedding_bias.float()[tokens.to(of_bias.device)][..., None]
    return [*parts, (None, "bias", None)], torch.cat([*values, of_bias], dim=-1)


def _along(vectors: Tensor, directions: Tensor) -> Tensor:
    """Products [B, K] of vectors [B, d] with directions [B, K, d]."""
    return (directions @ vectors.float()[..., None])[..., 0]


def _table(targets: Sequence[Targeted], parts: Sequence[Part], direct: Tensor, margin: Tensor, bos: Tensor, entropy: Tensor) -> pa.Table:
    """Rows of `attributions`: direct, margin [B, parts], bos, entropy [B, L, H]; raises PersonascopeError where a part is no finite number."""
    n, width = direct.shape
    broken = (~torch.isfinite(direct)).nonzero()
    if len(broken):
        row, place = broken[0].tolist()
        layer, component, _ = parts[place]
        raise PersonascopeError(
            f"attributions: {component} of layer {layer} in example {targets[row].example_id} adds no finite number; expected weights and a dtype that give "
            "finite ones (--dtype)"
        )
    rows = np.repeat(np.arange(n, dtype=np.int32), width)
    shared = [each.columns() for each in targets]
    columns: dict[str, Any] = {}
    for name in shared[0]:
        kind = pa.int32() if name in ("sample_ix", "position") else pa.string()
        columns[name] = pa.DictionaryArray.from_arrays(pa.array(rows), pa.array([row[name] for row in shared], kind)).dictionary_decode()
    layers, names, heads = zip(*parts, strict=True)
    of_heads = np.array([name == "head" for name in names])
    columns["layer"] = pa.array(list(layers) * n, pa.int32())
    columns["component"] = pa.array(list(names) * n)
    columns["head"] = pa.array(list(heads) * n, pa.int32())
    columns["direct"], columns["direct_margin"] = direct.flatten().numpy(), margin.flatten().numpy()
    for name, figures in (("bos", bos), ("entropy", entropy)):
        values = np.zeros((n, width), dtype=np.float32)
        values[:, of_heads] = figures.flatten(1).numpy()
        columns[name] = pa.array(values.ravel(), mask=np.tile(~of_heads, n))
    return pa.table(columns)
