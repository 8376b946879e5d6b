"""Activation patching: replaces one piece of the step before the target by a donor's, and says how far that carries the target."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from pydantic import Field
from torch import Tensor

from personascope.extract.extractors.reading import chosen_layers
from personascope.extract.extractors.targets import Targeted, TargetSettings, TargetsExtractor, padded, target_items
from personascope.extract.instruments.attention_calls import refuse_other_memories
from personascope.extract.instruments.attention_readout import run_decoder
from personascope.extract.instruments.components import Components, capturing_heads, find_components
from personascope.extract.instruments.lens import Vocabulary
from personascope.extract.instruments.residual import SITES, Site, capturing
from personascope.extract.instruments.steps import Edit, EditSite, edited_steps
from personascope.extract.job import Item, cut_batches
from personascope.extract.workload import Shape, Texts, Workload, check_layers
from personascope.ingest.progress import progress
from personascope.ingest.prompts import Prompt
from personascope.ingest.weights.checkpoints import Checkpoint
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.manifest import RunSpec
from personascope.warehouse.store.writer import Rows, RunWriter

PatchSite = Literal["resid_pre", "attn_out", "mlp_out", "resid_post", "head"]
ROUNDING = 1e-4  # logits of donor and base that differ by less are the same


class PatchSettings(TargetSettings):
    """What is replaced, and by whose."""

    sites: list[PatchSite] = Field(default=["resid_post", "attn_out", "mlp_out"], min_length=1, description=f"some of {', '.join(get_args(PatchSite))}")
    layers: Literal["all"] | list[int] = Field(default="all", description="decoder layers from 0, or all")
    donor_form: str | None = Field(default=None, description="the donor is the prompt of the same question in this wording (instead of another checkpoint)")
    donor_condition: str | None = Field(default=None, description="the donor is the prompt of the same question under this condition")


@dataclass(frozen=True)
class Donation:
    """What a donor had at the step before the target: vectors by layer and site [d], outputs of heads by layer [H, D], logits [vocab]; on the CPU."""

    at: dict[tuple[int, Site], Tensor]
    heads: dict[int, Tensor]
    logits: Tensor


class Patches(TargetsExtractor[Targeted]):
    """`patches`: one layer and site (or head) at a time is replaced at the step before the target, by a donor checkpoint's or another prompt's.

    Only the last position is replaced, so every variant repeats one step over the same cached prefix. Donor and base change places in a run of their own.
    """

    name = "patches"
    version = 1
    settings_type = PatchSettings
    settings: PatchSettings

    @classmethod
    def check_shape(cls, settings: PatchSettings, checkpoint: str, shape: Shape) -> None:
        check_layers(cls.name, checkpoint, shape.n_layers, settings.layers, from_end=False)

    @classmethod
    def workload(cls, settings: PatchSettings, texts: Texts, shape: Shape) -> Workload:
        layers = shape.layers(settings.layers)
        places = sum(layers * (shape.n_heads if site == "head" else 1) for site in settings.sites)
        return Workload(texts.tokens * (2 + places), {"examples": texts.n, "patches": texts.n * places})

    def cost(self, item: Item[Targeted]) -> float:
        sizes = self.arithmetic
        places = sum(len(self._layers) * (self.job.checkpoint.n_heads if site == "head" else 1) for site in self.settings.sites)
        return sizes.forward(item.length) + (1 + places) * (sizes.layers * sizes.layer(1, item.length) + sizes.logits(1))

    @property
    def _donor_name(self) -> str:
        return self.settings.donor_form or self.settings.donor_condition or (self.job.donor.name if self.job.donor else "")

    def spec(self) -> RunSpec:
        given = [each for each in (self.job.donor, self.settings.donor_form, self.settings.donor_condition) if each]
        if len(given) != 1:
            raise PersonascopeError(
                f"patches: {len(given)} donors are given; expected one of --donor CHECKPOINT, --set donor_form=WORDING and --set donor_condition=NAME"
            )
        donor = [self.job.donor.name, self.job.donor.identity] if self.job.donor else self._donor_name
        prompts = self.job.prompts.prompts if self.job.prompts and not self.job.donor else ()
        donors = [prompt for prompt in prompts if getattr(prompt, self._asked) == self._donor_name]
        by_question = {self._question(prompt) for prompt in donors}  # fewer where categories number their questions alike: then how prompts pair decides
        return self.target_spec({"donor": donor} | ({"paired": "within categories"} if len(by_question) < len(donors) else {}))

    @property
    def _asked(self) -> str:
        """What tells a prompt from its donor, where that is another prompt."""
        return "prompt_form" if self.settings.donor_form is not None else "condition"

    def _question(self, each: Prompt | Targeted) -> tuple[str | None, ...]:
        """What a prompt shares with its donor besides the category."""
        return each.persona, each.question_id, each.condition if self._asked == "prompt_form" else each.prompt_form

    @property
    def _layers(self) -> list[int]:
        return chosen_layers(self.name, self.job.checkpoint, self.settings.layers, from_end=False)

    def prepare(self) -> tuple[Sequence[Item[Targeted]], Mapping[str, Rows]]:
        targets, known = self.targets()
        sources = {each.key: each for each in targets}
        if self.job.donor is None:
            pairs = self._paired(targets)
            targets, sources = [each for each, _ in pairs], {each.key: source for each, source in pairs}
        donor = self.job.donor or self.job.checkpoint
        self._check_donor(donor)
        self._donor, self._sources = donor, sources
        return target_items(targets), known

    def check(self) -> Mapping[str, float]:
        self._donations = self._donate(self._donor, self._sources)
        refuse_other_memories(self.loaded.model, "no step can be repeated with a piece of it replaced")
        self._components = find_components(self.loaded.model)
        self._vocabulary = Vocabulary(self.tokenizer)
        return self._components.errors

    def _paired(self, targets: Sequence[Targeted]) -> list[tuple[Targeted, Targeted]]:
        """Every prompt that has a donor: the one of the same persona, category and question in the other wording, or under the other condition."""
        asked = self._asked

        def key(each: Targeted) -> tuple[str | None, ...]:
            return each.category, *self._question(each)

        donors = {key(each): each for each in targets if getattr(each, asked) == self._donor_name}
        if not donors:
            known = sorted({getattr(each, asked) for each in targets} - {None})
            expected = f"one of {', '.join(known)}" if known else f"prompts with a {asked}, which these have not"
            raise PersonascopeError(f"patches: no prompt has the {asked} {self._donor_name!r}; expected {expected}")
        pairs = [(each, donors[key(each)]) for each in targets if getattr(each, asked) != self._donor_name and key(each) in donors]
        if not pairs:
            raise PersonascopeError(f"patches: no other prompt shares its question with one of {asked} {self._donor_name!r}")
        return pairs

    def _check_donor(self, donor: Checkpoint) -> None:
        mine = self.job.checkpoint
        for name in ("n_layers", "n_heads", "d_model", "vocab_size"):
            if getattr(donor, name) != getattr(mine, name):
                raise PersonascopeError(
                    f"patches: donor {donor.name} has {name} {getattr(donor, name)}, but {mine.name} has {getattr(mine, name)}; "
                    "expected two checkpoints of one shape"
                )

    def _donate(self, donor: Checkpoint, sources: Mapping[str, Targeted]) -> dict[str, Donation]:
        """What the donor has at every wanted place, in one pass over all sources; kept on the CPU while the patched model takes the device."""
        components = find_components(self.job.models.load(donor).model)
        given = {}
        items = [Item(key, len(each.token_ids), each) for key, each in sources.items()]
        with progress(f"activations of {donor.name}", len(items)) as advance:
            for batch in cut_batches(items, self.job.batch_tokens):
                for item, donation in zip(batch, self._donations_of(components, [item.value for item in batch]), strict=True):
                    given[item.key] = donation
                advance(len(batch))
        return given

    def _donations_of(self, components: Components, sources: Sequence[Targeted]) -> list[Donation]:
        model = components.model
        tokens, real, positions = padded(sources)
        sites: list[Site] = [site for site in SITES if site in self.settings.sites]
        last = components.n_layers - 1
        with (
            torch.inference_mode(),
            capturing_heads(components, positions, self._layers if "head" in self.settings.sites else ()) as heads,
            capturing(components.stream.blocks, {*self._layers, last}, [*sites, *(() if "resid_post" in sites else ("resid_post",))], positions) as capture,
        ):
            run_decoder(model, tokens.to(model.device), real.to(model.device))
        with torch.inference_mode():
            logits = torch.cat([each.cpu() for _, each in components.blocks_of(capture.at[last, "resid_post"][:, 0])])
        at = {key: values[:, 0].cpu() for key, values in capture.at.items() if key[0] in self._layers and key[1] in sites}
        of_heads = {layer: z[:, 0].unflatten(-1, (components.n_heads, -1)).cpu() for layer, z in heads.z.items()}
        return [
            Donation({key: values[row] for key, values in at.items()}, {layer: z[row] for layer, z in of_heads.items()}, logits[row])
            for row in range(len(sources))
        ]

    def process(self, items: Sequence[Item[Targeted]]) -> Mapping[str, Rows]:
        return {"patches": [row for item in items for row in self._patched(item.value)]}

    def _patched(self, target: Targeted) -> list[dict[str, Any]]:
        """Rows of one example, every variant of which is a row of a batch."""
        donation, components = self._donations[target.key], self._components
        device = components.model.device
        donor_log = donation.logits.to(device).log_softmax(-1)
        wanted = int(donor_log.argmax()) if target.target_id is None else target.target_id
        donor = float(donation.logits[wanted]), float(donor_log[wanted].exp())
        pieces: list[tuple[int, EditSite, int | None]] = []
        for layer in self._layers:
            for site in self.settings.sites:
                pieces += [(layer, site, head) for head in range(components.n_heads)] if site == "head" else [(layer, site, None)]
        edits: list[Edit | None] = [None]
        for layer, site, head in pieces:
            vector = donation.heads[layer][head] if site == "head" else donation.at[layer, site]
            edits.append(Edit(layer, site, vector, head))
        figures: list[list[float]] = []
        for _, logits in edited_steps(components, target.token_ids, edits, max(1, self.job.batch_tokens // len(target.token_ids))):
            logs = logits.log_softmax(-1)
            divergence = (donor_log.exp() * (donor_log - logs)).sum(-1)
            figures += torch.stack([logits[:, wanted], logs[:, wanted].exp(), divergence, logits.argmax(-1)], dim=-1).tolist()
        return self._rows(target, wanted, pieces, donor, figures)

    def _rows(
        self,
        target: Targeted,
        wanted: int,
        pieces: Sequence[tuple[int, EditSite, int | None]],
        donor: tuple[float, float],
        figures: Sequence[Sequence[float]],
    ) -> list[dict[str, Any]]:
        """figures: logit and probability of the target, divergence from the donor, top-1 token; first of the unpatched step, then of every piece."""
        (base_logit, base_prob, base_kl, _), *patched = figures
        way = donor[0] - base_logit
        rows = []
        for (layer, site, head), (logit, prob, kl, top) in zip(pieces, patched, strict=True):
            rows.append(
                {
                    **target.columns(),
                    "layer": layer,
                    "site": site,
                    "head": head,
                    "donor": self._donor_name,
                    "direction": self.job.checkpoint.name,
                    "target_id": wanted,
                    "base_logit": base_logit,
                    "base_prob": base_prob,
                    "donor_logit": donor[0],
                    "donor_prob": donor[1],
                    "logit": logit,
                    "prob": prob,
                    "restored": (logit - base_logit) / way if abs(way) > ROUNDING else None,
                    "kl": kl,
                    "base_kl": base_kl,
                    "top1_id": int(top),
                    "top1": self._vocabulary.text(int(top)),
                }
            )
        return rows

    def summary(self, writer: RunWriter) -> dict[str, Any]:
        rows = writer.read_staged("patches").select(["example_id", "sample_ix"]).to_pylist()
        return {
            "donor": self._donor_name,
            "n_examples": len({tuple(row.values()) for row in rows}),
            "sites": list(self.settings.sites),
            "layers": self._layers,
            **self.self_checks,
        }
