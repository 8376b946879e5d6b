"""Takes single heads out of the forward pass and records what becomes of the next token, of what the model goes on to say, and of the attention above."""

import csv
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor

from personascope.extract.extractors.head_methods import Method, Variant, donor_of, edits_for, group_of, mean_outputs, shared_prefix, sieve_of
from personascope.extract.extractors.interventions import entropies_under, generations_under
from personascope.extract.extractors.targets import Targeted, TargetSettings, TargetsExtractor, target_items
from personascope.extract.instruments.components import ROWS_AT_ONCE, Components, find_components
from personascope.extract.instruments.lens import Vocabulary
from personascope.extract.instruments.replay import Clean, clean_pass, editing_everywhere, last_states, prefix_keys
from personascope.extract.job import Item, cut_batches
from personascope.extract.workload import Shape, Texts, Workload
from personascope.ingest.progress import progress
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.manifest import RunSpec
from personascope.warehouse.store.writer import Rows, RunWriter


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
            try:
                with Path(heads).open(encoding="utf-8", newline="") as handle:
                    heads = list(csv.DictReader(handle))
            except OSError as error:
                raise ValueError(f"expected all, a list of [layer, head], or a CSV file ({error.strerror})") from error
        if isinstance(heads, list):
            for each in heads:
                if isinstance(each, dict) and not {"layer", "head"} <= each.keys():
                    raise ValueError(f"expected the columns layer and head, found {', '.join(map(str, each))}")
            return [(each["layer"], each["head"]) if isinstance(each, dict) else each for each in heads]
        return heads


class Ablations(TargetsExtractor):
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

    def spec(self) -> RunSpec:
        return self.target_spec()

    @cached_property
    def variants(self) -> dict[int, list[Variant]]:
        """What is done to each layer."""
        checkpoint, asked = self.job.checkpoint, self.settings.heads
        pairs = [(layer, head) for layer in range(checkpoint.n_layers) for head in range(checkpoint.n_heads)] if asked == "all" else sorted(set(asked))
        if not pairs:
            raise PersonascopeError("ablations: setting 'heads' names no head; expected at least one pair of layer and head, or all")
        found: dict[int, list[Variant]] = defaultdict(list)
        for layer, head in pairs:
            if not (0 <= layer < checkpoint.n_layers and 0 <= head < checkpoint.n_heads):
                raise PersonascopeError(
                    f"ablations: layer {layer}, head {head} is not in checkpoint {checkpoint.name}; expected layers 0 to {checkpoint.n_layers - 1} and heads 0 "
                    f"to {checkpoint.n_heads - 1}"
                )
            for method in dict.fromkeys(self.settings.methods):
                scales = self.settings.scales if method == "scale" else [None]
                if not scales:
                    raise PersonascopeError("ablations: setting 'scales' is []; expected at least one factor for method scale")
                found[layer] += [Variant(layer, head, method, scale) for scale in dict.fromkeys(scales)]
        return dict(found)

    def prepare(self) -> tuple[Sequence[Item[Targeted]], Mapping[str, Rows]]:
        targets, known = self.targets()
        self._components: Components = find_components(self.loaded.model)
        self._vocabulary = Vocabulary(self.tokenizer)
        self._groups: dict[Any, list[Targeted]] = defaultdict(list)
        for each in targets:
            self._groups[group_of(each)].append(each)
        if "resample" in self.settings.methods and min(map(len, self._groups.values())) < 2:
            lonely = next(key for key, members in self._groups.items() if len(members) < 2)
            raise PersonascopeError(f"ablations: method resample takes another prompt of the same wording and category, and {lonely} has one; expected more")
        self._prefix = {key: shared_prefix(members) for key, members in self._groups.items()}
        self._means = self._mean_outputs(targets) if "mean" in self.settings.methods else {}
        self._replay_error = self._check(targets[0])
        return target_items(targets), known

    def _mean_outputs(self, targets: Sequence[Targeted]) -> dict[Any, Tensor]:
        """Mean output of every head [L, H, D] over all tokens of each group's prompts; one pass over all of them."""
        batches = cut_batches(target_items(targets), self.job.batch_tokens)
        with progress(f"mean outputs of {self.job.checkpoint.name}", len(targets)) as advance, torch.inference_mode():
            return mean_outputs(self._components, [[item.value for item in batch] for batch in batches], lambda batch: advance(len(batch)))

    def _check(self, target: Targeted) -> float:
        """Largest distance, relative to the largest logit, of the last logits by replay from those of plain forward passes, unchanged and without one head."""
        components, model = self._components, self.loaded.model
        ids = torch.tensor(target.token_ids, device=model.device)[None]
        layer, length = components.n_layers // 2, self._prefix[group_of(target)]
        with torch.inference_mode():
            clean = clean_pass(components, target.token_ids)
            edits = edits_for(components, clean, [Variant(layer, 0, "zero")], None, None, 0, 1)
            found = components.logits(last_states(components, clean, layer, length, prefix_keys(components, clean, layer, length, edits), edits))
            plain = model(input_ids=ids, use_cache=False).logits[:, -1].float()
            with editing_everywhere(components, layer, 0, 0.0, torch.zeros((), device=model.device)):
                without = model(input_ids=ids, use_cache=False).logits[:, -1].float()
        expected = torch.cat([plain, without])
        error = float(((found - expected).abs().max() / expected.abs().max()).nan_to_num(nan=torch.inf))
        if not error <= 64 * torch.finfo(model.dtype).eps:
            raise PersonascopeError(
                f"ablations: running {self.job.checkpoint.name} from layer {layer} on is off by {error:.1e}, expected at most "
                f"{64 * torch.finfo(model.dtype).eps:.1e}: its layers cannot be run on their own"
            )
        return error

    def process(self, items: Sequence[Item[Targeted]]) -> Mapping[str, Rows]:
        groups: dict[Any, list[Targeted]] = defaultdict(list)
        for item in items:
            groups[group_of(item.value)].append(item.value)
        tables: dict[str, list[dict[str, Any]]] = {"ablations": [], "ablation_generations": [], "ablation_entropies": []}
        for key, members in groups.items():
            tables["ablations"] += self._ablated(key, members)
            plain = [variant for of_layer in self.variants.values() for variant in of_layer if variant.method != "resample"]
            if self.settings.generate:
                tables["ablation_generations"] += generations_under(self, self._components, members, plain, self._means.get(key), self.settings.generate)
            if self.settings.entropies:
                tables["ablation_entropies"] += entropies_under(self._components, members, plain, self._means.get(key))
        return {name: rows for name, rows in tables.items() if rows}

    def _ablated(self, key: Any, members: Sequence[Targeted]) -> list[dict[str, Any]]:
        """Rows of `ablations` of prompts that begin alike."""
        components = self._components
        donors: list[Clean | None] = [None] * len(members)
        if "resample" in self.settings.methods:
            donors = [clean_pass(components, donor_of(each, self._groups[key], self.job.seed).token_ids) for each in members]
        sieves = sieve_of(components, members, self.job.batch_tokens) if "zero" in self.settings.methods else None
        rows: list[dict[str, Any]] = []
        for number, chunk, logits in ablated_logits(components, members, self.variants, self._prefix[key], self.job.batch_tokens, self._means.get(key), donors):
            rows += self._rows(members[number], chunk, logits, None if sieves is None else sieves[number, chunk[0].layer])
        return rows

    def _rows(self, target: Targeted, chunk: Sequence[Variant], logits: Tensor, sieve: Tensor | None) -> list[dict[str, Any]]:
        """Rows of one example; logits [1 + variants, vocab], of which the first are unchanged."""
        logs = logits.log_softmax(-1)
        probs = logs.exp()
        tops = logits.argmax(-1).tolist()
        wanted = tops[0] if target.target_id is None else target.target_id
        divergence = (probs[:1] * (logs[:1] - logs)).sum(-1).tolist()
        gains = (probs - probs[:1]).topk(max(1, self.settings.gained), dim=-1)
        gained, ids = gains.values[:, : self.settings.gained].tolist(), gains.indices[:, : self.settings.gained].tolist()
        own, chance = logits[:, wanted].tolist(), probs[:, wanted].tolist()
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
            "self_check.replay": self._replay_error,
            **{f"self_check.{name}": value for name, value in self._components.errors.items()},
        }


def margins_of(logits: Tensor, wanted: int) -> Tensor:
    """The logit of token `wanted` minus that of the likeliest other token [...], of logits [..., vocab]."""
    others = [part.amax(-1) for part in (logits[..., :wanted], logits[..., wanted + 1 :]) if part.shape[-1]]
    return logits[..., wanted] - torch.stack(others).amax(0)


def ablated_logits(
    components: Components,
    members: Sequence[Targeted],
    variants: Mapping[int, Sequence[Variant]],
    length: int,
    batch_tokens: int,
    means: Tensor | None = None,
    donors: Sequence[Clean | None] | None = None,
) -> Iterator[tuple[int, Sequence[Variant], Tensor]]:
    """Number of a member, some variants of one layer, and the logits [1 + variants, vocab] float32 behind it: unchanged, then under each variant.

    members begin with the same `length` tokens; variants by layer; means [L, H, D] for method mean, donors of method resample per member.
    """
    cleans = [clean_pass(components, each.token_ids) for each in members]
    longest = max(clean.length for clean in cleans)
    at_once = max(2, min(batch_tokens // longest, ROWS_AT_ONCE // len(components.unembedding)))
    for layer, of_layer in variants.items():
        mean = None if means is None else means[layer]
        for start in range(0, len(of_layer), at_once - 1):
            chunk = of_layer[start : start + at_once - 1]
            keys = prefix_keys(components, cleans[0], layer, length, edits_for(components, cleans[0], chunk, mean, None, 0, length))
            for number, clean in enumerate(cleans):
                edits = edits_for(components, clean, chunk, mean, donors[number] if donors else None, length, clean.length)
                yield number, chunk, components.logits(last_states(components, clean, layer, length, keys, edits))
