"""What takes the place of a head's output: nothing, a mean, another prompt's, a multiple of itself; and a first-order estimate of what is lost without it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from personascope.extract.extractors.targets import Targeted, padded
from personascope.extract.instruments.components import Components
from personascope.extract.instruments.replay import Clean, HeadEdits
from personascope.warehouse.store.hashing import stable_seed

Method = Literal["zero", "mean", "resample", "scale"]
Group = tuple[str | None, ...]


@dataclass(frozen=True)
class Variant:
    """One head and what is done to it; scale is the factor of method scale."""

    layer: int
    head: int
    method: Method
    scale: float | None = None

    @property
    def factor(self) -> float:
        """What the head's own output is multiplied with."""
        return 0.0 if self.scale is None else self.scale

    @property
    def changes_nothing(self) -> bool:
        return self.method == "scale" and self.scale == 1

    def columns(self) -> dict[str, Any]:
        return {"layer": self.layer, "head": self.head, "method": self.method, "scale": self.scale}


def group_of(target: Targeted) -> Group:
    """Prompts of one group stand in for one another: same persona, condition, category and wording."""
    return target.persona, target.condition, target.category, target.prompt_form


def shared_prefix(members: Sequence[Targeted]) -> int:
    """Tokens that all members begin with, fewer than any of them has."""
    first, last = min(each.token_ids for each in members), max(each.token_ids for each in members)  # of sorted sequences these two share the least
    length = next((place for place, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), min(len(first), len(last)))
    return min(length, *(each.position for each in members))


def donor_of(target: Targeted, members: Sequence[Targeted], seed: int) -> Targeted:
    """The other member whose head outputs resample puts in: drawn by a stable hash of seed and example."""
    others = [each for each in members if each.key != target.key]
    return others[stable_seed("resample", seed, target.key) % len(others)]


def mean_outputs(components: Components, batches: Sequence[Sequence[Targeted]], done: Callable[[Sequence[Targeted]], None]) -> dict[Group, Tensor]:
    """Mean output of every head [L, H, D], float32, over all tokens of the targets of each group; sums in float64."""
    sums: dict[Group, Tensor] = {}
    counts: dict[Group, int] = {}
    model = components.model
    for batch in batches:
        tokens, real, _ = padded(batch)
        totals: list[Tensor] = []

        def add(module: nn.Module, args: tuple[Any, ...], kept: Tensor = real, totals: list[Tensor] = totals) -> None:
            totals.append(args[0].masked_fill(~kept.to(args[0].device)[:, :, None], 0).double().sum(1).cpu())

        handles = [projection.register_forward_pre_hook(add) for projection in components.projections]
        try:
            model.get_decoder()(input_ids=tokens.to(model.device), use_cache=False)
        finally:
            for handle in handles:
                handle.remove()
        by_row = torch.stack(totals, dim=1).unflatten(-1, (components.n_heads, -1))
        for row, each in enumerate(batch):
            group = group_of(each)
            sums[group] = sums.get(group, 0) + by_row[row]
            counts[group] = counts.get(group, 0) + len(each.token_ids)
        done(batch)
    return {group: (total / counts[group]).float() for group, total in sums.items()}


def value_of(variant: Variant, mean: Tensor | None) -> Tensor | float:
    """What is added at every position, whatever the prompt: [D] for the mean (mean [H, D] of the layer), else nothing."""
    if variant.method == "mean":
        assert mean is not None
        return mean[variant.head]
    return 0.0


def edits_for(components: Components, clean: Clean, variants: Sequence[Variant], mean: Tensor | None, donor: Clean | None, start: int, stop: int) -> HeadEdits:
    """Edits of one layer for tokens start..stop, a row per variant.

    mean [H, D]: of the layer; donor: the prompt whose outputs behind the first `start` tokens resample takes, aligned at the end, with the own outputs before
    them where it is shorter; None in a prefix that both share, where its outputs are the same.
    """
    layer = variants[0].layer
    outputs = clean.heads[layer]
    device, dtype = outputs.device, outputs.dtype
    width = outputs.shape[-1] // components.n_heads
    has_positions = donor is not None and any(variant.method == "resample" for variant in variants)
    heads = torch.tensor([variant.head for variant in variants], device=device)
    factors = torch.ones(len(variants), device=device, dtype=dtype)
    values = torch.zeros((len(variants), stop - start if has_positions else 1, width), device=device, dtype=dtype)
    taken = None
    if has_positions:
        assert donor is not None
        given = donor.heads[layer][0]
        count = min(stop - start, len(given) - start)
        taken = outputs[0, start:stop].clone()
        taken[len(taken) - count :] = given[len(given) - count :]
        taken = taken.unflatten(-1, (components.n_heads, -1))
    for row, variant in enumerate(variants):
        if variant.method == "resample":
            if taken is not None:
                factors[row] = 0
                values[row] = taken[:, variant.head]
            continue
        factors[row] = variant.factor
        values[row] = value_of(variant, mean)
    return HeadEdits(heads, factors, values)


def sieve_of(components: Components, members: Sequence[Targeted], batch_tokens: int) -> Tensor:
    """First-order estimate [n, L, H] of what the target's logit changes by when a head is zeroed everywhere: minus gradient times output, summed over tokens.

    Attribution patching (Nanda 2023; Syed et al. 2023) with zero as the other end; one forward and one backward pass for all heads. Targets that are not named
    take the model's first choice.
    """
    model = components.model
    found = []
    longest = max(len(each.token_ids) for each in members)
    rows = max(1, batch_tokens // (4 * longest))  # a backward pass keeps about four times what a forward pass does
    for start in range(0, len(members), rows):
        chunk = members[start : start + rows]
        with torch.inference_mode(False), torch.enable_grad():
            tokens, _, positions = padded(chunk)
            gates: list[Tensor] = []

            def scale(module: nn.Module, args: tuple[Any, ...], gates: list[Tensor] = gates) -> tuple[Any, ...]:
                outputs = args[0].unflatten(-1, (components.n_heads, -1))
                gate = torch.ones((len(outputs), 1, components.n_heads, 1), device=outputs.device, dtype=outputs.dtype, requires_grad=True)
                gates.append(gate)
                return ((outputs * gate).flatten(-2), *args[1:])

            handles = [projection.register_forward_pre_hook(scale) for projection in components.projections]
            try:
                states = model.get_decoder()(input_ids=tokens.to(model.device), use_cache=False).last_hidden_state
            finally:
                for handle in handles:
                    handle.remove()
            at = states[torch.arange(len(chunk)), positions[:, 0]]
            logits = components.unembed(at)
            wanted = [int(logits[row].argmax()) if each.target_id is None else each.target_id for row, each in enumerate(chunk)]
            total = logits[torch.arange(len(chunk)), torch.tensor(wanted, device=logits.device)].sum()
            slopes = torch.autograd.grad(total, gates)
        found.append(-torch.stack([slope[:, 0, :, 0] for slope in slopes], dim=1).float())
    return torch.cat(found).cpu()
