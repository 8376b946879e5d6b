"""Takes single heads out of the forward pass and records what becomes of the next token, of what the model goes on to say, and of the attention above."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor

from personascope.extract.arithmetic import PART
from personascope.extract.extractors.head_methods import Group, Method, Variant, donor_of, edits_for, group_of, mean_outputs, shared_prefix, sieve_of
from personascope.extract.extractors.interventions import Generations, entropies_of, entropies_under, generations_under, unchanged_generations
from personascope.extract.extractors.targets import Targeted, TargetSettings, TargetsExtractor, target_items
from personascope.extract.instruments.components import ROWS_AT_ONCE, Components, find_components
from personascope.extract.instruments.lens import Vocabulary
from personascope.extract.instruments.replay import Clean, clean_pass, clean_passes, editing_everywhere, last_states, prefix_keys
from personascope.extract.job import Item, cut_batches
from personascope.extract.workload import Shape, Texts, Workload
from personascope.ingest.progress import progress
from personascope.ingest.records.columns import ColumnNames
from personascope.ingest.records.csv_file import CsvFile
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.pointers import refuse_pointer
from personascope.warehouse.store.manifest import RunSpec
from personascope.warehouse.store.writer import Rows, RunWriter

CPU_TILE = 1024  # tokens that go through a layer at once on a processor: its products are at full speed, and what is between them stays in its caches


class AblationSettings(TargetSettings):
    """Which heads, what takes the place of their output, and what is looked at besides the next token."""

    heads: Literal["all"] | list[tuple[int, int]] = Field(
        default="all", validate_default=True, description="all, a list of [layer, head], or a CSV file with the columns layer and head"
    )
    methods: list[Method] = Field(default=["zero", "mean", "resample"], min_length=1, description="zero, mean, resample, scale")
    scales: list[float] = Field(default=[0.0, 0.5], description="factors of method scale")
    gained: int = Field(default=3, ge=0, le=100, description="tokens kept that gained most probability")
    generate: int = Field(default=0, ge=0, description="tokens to go on greedily under every change but resample, beside the unchanged model")
    entropies: bool = Field(default=False, description="read the attention entropies from the changed layer on, under every change but resample")

    @field_validator("heads", mode="before")
    @classmethod
    def _pairs(cls, heads: Any) -> Any:
        """Pairs as typed, as the rows of a query, or from a file."""
        if isinstance(heads, str) and heads != "all":
            refuse_pointer(Path(heads))
            try:
                file = CsvFile(Path(heads), ColumnNames(("layer", "head")))
                if not {"layer", "head"} <= set(file.columns):
                    raise ValueError(f"expected the columns layer and head, found {', '.join(file.header)}")
                heads = [row for _, row in file]
            except PersonascopeError as error:
                raise ValueError(f"expected all, a list of [layer, head], or a CSV file ({error})") from error
        if isinstance(heads, list):
            for each in heads:
                if isinstance(each, dict) and not {"layer", "head"} <= each.keys():
                    raise ValueError(f"expected the columns layer and head, found {', '.join(map(str, each))}")
            return [(each["layer"], each["head"]) if isinstance(each, dict) else each for each in heads]
        return heads


@dataclass(frozen=True)
class Slice:
    """Changes of one layer to some prompts of a group, the unit of work."""

    group: Group
    members: tuple[Targeted, ...]
    variants: tuple[Variant, ...]


@dataclass(frozen=True)
class Unchanged:
    """What is known of some prompts before anything is changed: passes of their own and of their donors, first-order estimates [n, L, H], what else is read."""

    members: tuple[Targeted, ...]
    cleans: list[Clean]
    bases: Tensor
    donors: list[Clean | None]
    sieves: Tensor | None
    generations: Generations | None
    entropies: list[list[float]] | None


class Ablations(TargetsExtractor[Slice]):
    """`ablations`: every head (or the named ones) changed at every position, one at a time: target, whole next-token distribution, gains, first-order estimate.

    Exact, and fast by what variants share: layers below the changed one are not run again; heads of a layer are rows of one batch; the tokens that prompts of
    one wording begin with are run once per head for all of them. zero removes a head's output, mean puts the mean over tokens and prompts of the same wording
    and category in its place, resample the output in another such prompt (aligned at the end; before the tokens in which prompts differ it is the same), scale
    multiplies it.
    """

    name = "ablations"
    version = 1
    settings_type = AblationSettings
    settings: AblationSettings

    @classmethod
    def workload(cls, settings: AblationSettings, texts: Texts, shape: Shape) -> Workload:
        heads = shape.n_layers * shape.n_heads if settings.heads == "all" else len(settings.heads)
        changes = heads * sum(len(settings.scales) if method == "scale" else 1 for method in settings.methods)
        return Workload(texts.tokens * (1 + changes), {"examples": texts.n, "ablations": texts.n * changes})

    @classmethod
    def check_shape(cls, settings: AblationSettings, checkpoint: str, shape: Shape) -> None:
        for layer, head in () if settings.heads == "all" else settings.heads:
            if not (0 <= layer < shape.n_layers and 0 <= head < shape.n_heads):
                raise PersonascopeError(
                    f"ablations: layer {layer}, head {head} is not in checkpoint {checkpoint}; expected layers 0 to {shape.n_layers - 1} and heads 0 to "
                    f"{shape.n_heads - 1}"
                )

    def spec(self) -> RunSpec:
        return self.target_spec()

    @cached_property
    def variants(self) -> dict[int, list[Variant]]:
        """What is done to each layer."""
        checkpoint, asked = self.job.checkpoint, self.settings.heads
        self.check_shape(self.settings, checkpoint.name, Shape.of(checkpoint))
        pairs = [(layer, head) for layer in range(checkpoint.n_layers) for head in range(checkpoint.n_heads)] if asked == "all" else sorted(set(asked))
        if not pairs:
            raise PersonascopeError("ablations: setting 'heads' names no head; expected at least one pair of layer and head, or all")
        found: dict[int, list[Variant]] = defaultdict(list)
        for layer, head in pairs:
            for method in dict.fromkeys(self.settings.methods):
                scales = self.settings.scales if method == "scale" else [None]
                if not scales:
                    raise PersonascopeError("ablations: setting 'scales' is []; expected at least one factor for method scale")
                found[layer] += [Variant(layer, head, method, scale) for scale in dict.fromkeys(scales)]
        return dict(found)

    def prepare(self) -> tuple[Sequence[Item[Slice]], Mapping[str, Rows]]:
        self._targets, known = self.targets()
        self._groups: dict[Any, list[Targeted]] = defaultdict(list)
        for each in self._targets:
            self._groups[group_of(each)].append(each)
        if "resample" in self.settings.methods and min(map(len, self._groups.values())) < 2:
            lonely = next(key for key, members in self._groups.items() if len(members) < 2)
            raise PersonascopeError(f"ablations: method resample takes another prompt of the same wording and category, and {lonely} has one; expected more")
        self._prefix = {key: shared_prefix(members) for key, members in self._groups.items()}
        return self._slices(), known

    def check(self) -> Mapping[str, float]:
        self._components: Components = find_components(self.loaded.model)
        self._vocabulary = Vocabulary(self.tokenizer)
        self._unchanged: Unchanged | None = None
        self._means = self._mean_outputs(self._targets) if "mean" in self.settings.methods else {}
        return {"replay": self._replay_error(self._targets[0]), **self._components.errors}

    def _slices(self) -> list[Item[Slice]]:
        """The work by prompts and variants: as many prompts of a group as are read at once, and as many variants of a layer as a part may cost."""
        n_variants = sum(map(len, self.variants.values()))
        items: list[Item[Slice]] = []
        for number, (group, members) in enumerate(self._groups.items()):
            longest = max(len(each.token_ids) for each in members)
            dearest = self._slice_cost(group, members[:1], next(iter(self.variants.values()))[:1])
            at_once = max(1, min(self.job.batch_tokens // longest, int(self.part_cost // dearest)))
            for start in range(0, len(members), at_once):
                chunk = tuple(members[start : start + at_once])
                for layer, of_layer in self.variants.items():
                    most = max(1, min(self.job.batch_tokens // longest, int(self.part_cost // self._slice_cost(group, chunk, of_layer[:1]))))
                    for first in range(0, len(of_layer), most):
                        some = tuple(of_layer[first : first + most])
                        key = f"{number:05d}-{start:06d}-{layer:04d}-{first:06d}"
                        items.append(Item(key, longest, Slice(group, chunk, some), len(chunk) * len(some) / n_variants))
        return items

    @property
    def part_cost(self) -> float:
        """No more than PART also for a large model: every slice is a batch of many rows."""
        return PART

    def cost(self, item: Item[Slice]) -> float:
        return self._slice_cost(item.value.group, item.value.members, item.value.variants)

    def _slice_cost(self, group: Group, members: Sequence[Targeted], variants: Sequence[Variant]) -> float:
        sizes, shared, settings = self.arithmetic, self._prefix[group], self.settings
        longest = max(len(each.token_ids) for each in members)
        tokens = shared + sum(len(each.token_ids) - shared for each in members)
        one = (sizes.layers - variants[0].layer) * sizes.layer(tokens, longest) + sizes.logits(len(members))
        if settings.generate:
            one += sum(sizes.decode(len(each.token_ids), settings.generate) for each in members)
        if settings.entropies:
            one += sum(sizes.forward(len(each.token_ids)) for each in members)
        return len(variants) * one

    def _mean_outputs(self, targets: Sequence[Targeted]) -> dict[Any, Tensor]:
        """Mean output of every head [L, H, D] over all tokens of each group's prompts; one pass over all of them."""
        batches = cut_batches(target_items(targets), self.job.batch_tokens)
        with progress(f"mean outputs of {self.job.checkpoint.name}", len(targets)) as advance, torch.inference_mode():
            return mean_outputs(self._components, [[item.value for item in batch] for batch in batches], lambda batch: advance(len(batch)))

    def _replay_error(self, target: Targeted) -> float:
        """Largest distance, relative to the largest logit, of the last logits by replay from those of plain forward passes, unchanged and without one head."""
        components, model = self._components, self.loaded.model
        ids = torch.tensor(target.token_ids, device=model.device)[None]
        layer, length = components.n_layers // 2, self._prefix[group_of(target)]
        with torch.inference_mode():
            cleans, variants = [clean_pass(components, target.token_ids)], [Variant(layer, 0, "zero")]
            (_, base, ablated), *_ = ablated_logits(components, cleans, unchanged_logits(components, cleans), variants, length, self.job.batch_tokens)
            plain = model(input_ids=ids, use_cache=False).logits[:, -1].float()
            with editing_everywhere(components, layer, 0, 0.0, torch.zeros((), device=model.device)):
                without = model(input_ids=ids, use_cache=False).logits[:, -1].float()
        found, expected = torch.cat([base[None], ablated]), torch.cat([plain, without])
        error = float(((found - expected).abs().max() / expected.abs().max()).nan_to_num(nan=torch.inf))
        if not error <= 64 * torch.finfo(model.dtype).eps:
            raise PersonascopeError(
                f"ablations: running {self.job.checkpoint.name} from layer {layer} on is off by {error:.1e}, expected at most "
                f"{64 * torch.finfo(model.dtype).eps:.1e}: its layers cannot be run on their own"
            )
        return error

    def process(self, items: Sequence[Item[Slice]]) -> Mapping[str, Rows]:
        tables: dict[str, list[dict[str, Any]]] = {"ablations": [], "ablation_generations": [], "ablation_entropies": []}
        for slice_ in (item.value for item in items):
            members, components, unchanged = slice_.members, self._components, self._unchanged_of(slice_)
            means = self._means.get(slice_.group)
            tables["ablations"] += self._ablated(slice_, unchanged)
            plain = [variant for variant in slice_.variants if variant.method != "resample"]
            if unchanged.generations is not None:
                length = self.settings.generate
                tables["ablation_generations"] += generations_under(self, components, members, plain, means, length, unchanged.generations)
            if unchanged.entropies is not None:
                tables["ablation_entropies"] += entropies_under(components, members, plain, means, unchanged.entropies)
        return {name: rows for name, rows in tables.items() if rows}

    def _unchanged_of(self, slice_: Slice) -> Unchanged:
        """What the prompts of a slice give unchanged, kept for the slices of other layers that follow."""
        if self._unchanged is None or self._unchanged.members != slice_.members:
            self._unchanged = None
            members, components, settings, job = slice_.members, self._components, self.settings, self.job
            donors: list[Clean | None] = [None] * len(members)
            if "resample" in settings.methods:
                donors = [clean_pass(components, donor_of(each, self._groups[slice_.group], job.seed).token_ids) for each in members]
            cleans = clean_passes(components, [each.token_ids for each in members], self._prefix[slice_.group])
            self._unchanged = Unchanged(
                members,
                cleans,
                unchanged_logits(components, cleans),
                donors,
                sieve_of(components, members, job.batch_tokens) if "zero" in settings.methods else None,
                unchanged_generations(self, components, members, settings.generate) if settings.generate else None,
                entropies_of(components, members) if settings.entropies else None,
            )
        return self._unchanged

    def _ablated(self, slice_: Slice, unchanged: Unchanged) -> list[dict[str, Any]]:
        """Rows of `ablations`."""
        layer, means = slice_.variants[0].layer, self._means.get(slice_.group)
        mean = None if means is None else means[layer]
        rows: list[dict[str, Any]] = []
        for number, base, logits in ablated_logits(
            self._components, unchanged.cleans, unchanged.bases, slice_.variants, self._prefix[slice_.group], self.job.batch_tokens, mean, unchanged.donors
        ):
            sieve = None if unchanged.sieves is None else unchanged.sieves[number, layer]
            rows += self._rows(slice_.members[number], slice_.variants, base, logits, sieve)
        return rows

    def _rows(self, target: Targeted, chunk: Sequence[Variant], base: Tensor, logits: Tensor, sieve: Tensor | None) -> list[dict[str, Any]]:
        """Rows of one example; logits [vocab] unchanged, and [variants, vocab] under each variant."""
        logits = torch.cat([base[None], logits])
        total = logits.logsumexp(-1)
        probs = (logits - total[:, None]).exp_()
        tops = logits.argmax(-1).tolist()
        wanted = tops[0] if target.target_id is None else target.target_id
        divergence = (total - total[0] - (logits - logits[0]) @ probs[0]).tolist()
        own, chance = logits[:, wanted].tolist(), probs[:, wanted].tolist()
        gains = probs.sub_(probs[0].clone()).topk(max(1, self.settings.gained), dim=-1)
        gained, ids = gains.values[:, : self.settings.gained].tolist(), gains.indices[:, : self.settings.gained].tolist()
        rows = []
        margins = margins_of(logits, wanted).tolist()
        for row, variant in enumerate(chunk, 1):
            rows.append(
                {
                    **target.columns(),
                    **variant.columns(),
                    "target_id": wanted,
                    "base_logit": own[0],
                    "logit": own[row],
                    "base_prob": chance[0],
                    "prob": chance[row],
                    "base_margin": margins[0],
                    "margin": margins[row],
                    "kl": divergence[row],
                    "base_top1_id": tops[0],
                    "base_top1": self._vocabulary.text(tops[0]),
                    "top1_id": tops[row],
                    "top1": self._vocabulary.text(tops[row]),
                    "gained": [self._vocabulary.text(token) for token in ids[row]],
                    "gained_change": gained[row],
                    "sieve": None if sieve is None or variant.method != "zero" else float(sieve[variant.head]),
                }
            )
        return rows

    def summary(self, writer: RunWriter) -> dict[str, Any]:
        return {
            "n_examples": sum(map(len, self._groups.values())),
            "n_heads": len({(variant.layer, variant.head) for of_layer in self.variants.values() for variant in of_layer}),
            "methods": list(dict.fromkeys(self.settings.methods)),
            "shared_prefix_tokens": min(self._prefix.values()),
            **self.self_checks,
        }


def margins_of(logits: Tensor, wanted: int) -> Tensor:
    """The logit of token `wanted` minus that of the likeliest other token [...], of logits [..., vocab]."""
    others = [part.amax(-1) for part in (logits[..., :wanted], logits[..., wanted + 1 :]) if part.shape[-1]]
    return logits[..., wanted] - torch.stack(others).amax(0)


def unchanged_logits(components: Components, cleans: Sequence[Clean]) -> Tensor:
    """Logits [n, vocab] float32 behind unchanged prompts."""
    return torch.cat([logits for _, logits in components.blocks_of(torch.cat([clean.final for clean in cleans]))])


def ablated_logits(
    components: Components,
    cleans: Sequence[Clean],
    bases: Tensor,
    variants: Sequence[Variant],
    length: int,
    batch_tokens: int,
    mean: Tensor | None = None,
    donors: Sequence[Clean | None] | None = None,
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Number of a prompt, the logits [vocab] behind it unchanged, and those [variants, vocab] under each variant of one layer; all float32.

    cleans: unchanged passes of prompts that begin with the same `length` tokens, bases [n, vocab]: their logits; mean [H, D] of the layer for method mean,
    donors of method resample.
    In less than float32 the unchanged logits are computed in the same batch as the others, so that a variant that changes nothing changes nothing.
    """
    layer, exact = variants[0].layer, components.model.dtype == torch.float32
    changing = [variant for variant in variants if not variant.changes_nothing] or list(variants[:1])
    rows = changing if exact else [Variant(layer, 0, "scale", 1.0), *changing]
    keys = prefix_keys(components, cleans[0], layer, length, edits_for(components, cleans[0], rows, mean, None, 0, length))
    place = {variant: row for row, variant in enumerate(rows)}
    for numbers in _tiles(components, cleans, len(rows), length, batch_tokens):
        edits = [edits_for(components, cleans[at], rows, mean, donors[at] if donors else None, length, cleans[at].length) for at in numbers]
        states = last_states(components, [cleans[at] for at in numbers], layer, length, keys, edits)
        logits = components.logits(states.flatten(0, 1)).unflatten(0, states.shape[:2])
        for own, at in zip(logits, numbers, strict=True):
            base = bases[at] if exact else own[0]
            yield at, base, torch.stack([base if variant.changes_nothing else own[place[variant]] for variant in variants])


def _tiles(components: Components, cleans: Sequence[Clean], n_rows: int, length: int, batch_tokens: int) -> Iterator[list[int]]:
    """Numbers of prompts of one length that go through the layers together, as many as fit the device and give its matrix products their full speed."""
    most = min(batch_tokens, CPU_TILE) if components.model.device.type == "cpu" else batch_tokens
    by_length: dict[int, list[int]] = defaultdict(list)
    for number, clean in enumerate(cleans):
        by_length[clean.length].append(number)
    for tokens, numbers in by_length.items():
        at_once = max(1, min(most // (n_rows * (tokens - length)), ROWS_AT_ONCE // (len(components.unembedding) * n_rows)))
        for start in range(0, len(numbers), at_once):
            yield numbers[start : start + at_once]
