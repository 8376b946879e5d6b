"""What a model does under a change to one head, beyond the next token: what it goes on to say, and how spread out the attention above becomes."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from personascope.extract.extractors.head_methods import Variant, value_of
from personascope.extract.extractors.targets import Targeted, padded
from personascope.extract.instruments.components import Components
from personascope.extract.instruments.replay import editing_everywhere
from personascope.extract.instruments.row_entropy import FIGURES, read_entropy
from personascope.extract.job import Extractor
from personascope.extract.weights.engines import Request, open_engine

Generations = tuple[list[list[int]], list[float | None]]
"""Greedy continuations of some prompts, and the mean negative log-likelihood per token of the unchanged model's, nats."""


def unchanged_generations(extractor: Extractor[Any], components: Components, targets: Sequence[Targeted], length: int) -> Generations:
    """What the unchanged model goes on to say, `length` tokens at most."""
    base = _go_on(extractor, targets, length)
    return base, _nll(components, targets, base)


def generations_under(
    extractor: Extractor[Any],
    components: Components,
    targets: Sequence[Targeted],
    variants: Sequence[Variant],
    means: Tensor | None,
    length: int,
    unchanged: Generations,
) -> list[dict[str, Any]]:
    """Rows of `ablation_generations`: greedy continuations of `length` tokens at most; means [L, H, D] for method mean."""
    base, base_nll = unchanged
    rows = []
    for variant in variants:
        with _under(components, variant, means):
            found, nll = _go_on(extractor, targets, length), _nll(components, targets, base)
        for number, (each, before, after) in enumerate(zip(targets, base, found, strict=True)):
            shared = next((place for place, (one, other) in enumerate(zip(before, after, strict=False)) if one != other), min(len(before), len(after)))
            rows.append(
                {
                    **each.columns(),
                    **variant.columns(),
                    "base_text": str(extractor.tokenizer.decode(before, skip_special_tokens=True)),
                    "text": str(extractor.tokenizer.decode(after, skip_special_tokens=True)),
                    "token_ids": after,
                    "same": before == after,
                    "n_same": shared,
                    "base_nll": base_nll[number],
                    "nll": nll[number],
                }
            )
    return rows


def entropies_of(components: Components, targets: Sequence[Targeted]) -> list[list[float]]:
    """Attention entropy of every target and layer, mean over heads and query positions, nats."""
    tokens, real, _ = padded(targets)
    values = read_entropy(components.model, tokens, real.sum(1), fuse=False).values[..., FIGURES.index("mean")]
    found: list[list[float]] = values.mean(-1).tolist()
    return found


def entropies_under(
    components: Components, targets: Sequence[Targeted], variants: Sequence[Variant], means: Tensor | None, base: Sequence[Sequence[float]]
) -> list[dict[str, Any]]:
    """Rows of `ablation_entropies`, beside `base`, those of the unchanged model: of the changed layer and those above it."""
    rows = []
    for variant in variants:
        with _under(components, variant, means):
            found = entropies_of(components, targets)
        for each, before, after in zip(targets, base, found, strict=True):
            for layer in range(variant.layer, components.n_layers):
                rows.append(
                    {**each.columns(), **variant.columns(), "reader_layer": layer, "base_entropy": before[layer], "entropy": after[layer]},
                )
    return rows


def _go_on(extractor: Extractor[Any], targets: Sequence[Targeted], length: int) -> list[list[int]]:
    engine = open_engine("hf", extractor.job.models, extractor.job.checkpoint)
    return [sample.token_ids for sample in engine.sample([Request(each.token_ids, 0) for each in targets], 0, 1, length)]


def _under(components: Components, variant: Variant, means: Tensor | None) -> AbstractContextManager[None]:
    """The change of a variant in every forward pass."""
    value = value_of(variant, None if means is None else means[variant.layer])
    device = components.model.device
    return editing_everywhere(components, variant.layer, variant.head, variant.factor, torch.as_tensor(value, device=device))


def _nll(components: Components, targets: Sequence[Targeted], continuations: Sequence[Sequence[int]]) -> list[float | None]:
    """Mean negative log-likelihood per token of each continuation behind its prompt, nats; None for an empty one."""
    whole = [[*each.token_ids, *said] for each, said in zip(targets, continuations, strict=True)]
    ids = torch.zeros((len(whole), max(map(len, whole))), dtype=torch.long)
    for row, tokens in enumerate(whole):
        ids[row, : len(tokens)] = torch.tensor(tokens)
    model = components.model
    with torch.inference_mode():
        states = model.get_decoder()(input_ids=ids.to(model.device), use_cache=False).last_hidden_state
        found: list[float | None] = []
        for row, (each, said) in enumerate(zip(targets, continuations, strict=True)):
            start = len(each.token_ids) - 1
            logs = components.unembed(states[row, start : start + len(said)]).log_softmax(-1)
            picked = logs.gather(1, torch.tensor(said, device=logs.device, dtype=torch.long)[:, None])
            found.append(-float(picked.mean()) if said else None)
    return found
