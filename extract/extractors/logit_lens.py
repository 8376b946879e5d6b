"""Logit lens: after every layer, which tokens the residual stream would say next, and where the target stands among them."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch
from pydantic import Field

from personascope.extract.extractors.predictions import accuracy_of, prediction_rows, say_accuracy
from personascope.extract.extractors.targets import Targeted, TargetSettings, TargetsExtractor, padded, target_items
from personascope.extract.instruments.attention_readout import run_decoder
from personascope.extract.instruments.components import Components, find_components
from personascope.extract.instruments.lens import Reading, Vocabulary, read_states, wanted_tokens
from personascope.extract.instruments.residual import capturing
from personascope.extract.job import Item
from personascope.extract.workload import Shape, Texts, Workload
from personascope.warehouse.store.manifest import RunSpec
from personascope.warehouse.store.writer import Rows, RunWriter

EMBEDDINGS = -1


class LensSettings(TargetSettings):
    """How much of each distribution is kept, and at which positions."""

    k: int = Field(default=10, ge=1, le=1000, description="most likely tokens kept per layer")
    positions: Literal["target", "all"] = Field(
        default="target",
        description="target: the step before the target; all: every other position too (stratum every), for a grid of layers by positions",
    )


class LogitLens(TargetsExtractor[Targeted]):
    """`logit_lens`: top tokens per layer with the target's rank, logit and probability, through the final norm, in float32.

    Layer -1 holds the embeddings, layer l the residual stream behind layer l; the last layer gives the model's own distribution. Under stratum `every` the
    target is the example's own, wherever the position stands.
    """

    name = "logit_lens"
    version = 1
    settings_type = LensSettings
    settings: LensSettings

    @classmethod
    def workload(cls, settings: LensSettings, texts: Texts, shape: Shape) -> Workload:
        places = texts.n if settings.positions == "target" else texts.tokens
        layers = shape.n_layers + 1  # the embeddings are read too
        return Workload(texts.tokens, {"examples": texts.n, "predictions": texts.n, "logit_lens": places * layers * settings.k})

    def spec(self) -> RunSpec:
        return self.target_spec()

    def prepare(self) -> tuple[Sequence[Item[Targeted]], Mapping[str, Rows]]:
        targets, known = self.targets()
        return target_items(targets), known

    def check(self) -> Mapping[str, float]:
        self._components: Components = find_components(self.loaded.model)
        self._vocabulary = Vocabulary(self.tokenizer)
        return self._components.errors

    def cost(self, item: Item[Targeted]) -> float:
        read = item.length if self.settings.positions == "all" else 1
        return self.arithmetic.forward(item.length) + self.arithmetic.logits(read * self.arithmetic.layers)

    def process(self, items: Sequence[Item[Targeted]]) -> Mapping[str, Rows]:
        targets = [item.value for item in items]
        components, model = self._components, self.loaded.model
        tokens, real, positions = padded(targets)
        if self.settings.positions == "all":
            positions = torch.arange(tokens.shape[1]).where(real, -1)
        layers = range(components.n_layers)
        with capturing(components.stream.blocks, layers, ["resid_pre", "resid_post"], positions) as capture:
            run_decoder(model, tokens.to(model.device), real.to(model.device))
        kept = positions >= 0
        owner = torch.arange(len(targets))[:, None].expand_as(positions)[kept]
        last = torch.tensor([each.position for each in targets])
        at_target = positions[kept] == last[owner]
        final = capture.at[components.n_layers - 1, "resid_post"][kept.to(model.device)]
        wanted = wanted_tokens(components, [each.target_id for each in targets], final[at_target.to(final.device)])
        tables, readings = [], {}
        for layer in (EMBEDDINGS, *layers):
            states = capture.at[(0, "resid_pre") if layer == EMBEDDINGS else (layer, "resid_post")]
            readings[layer] = read_states(components, states[kept.to(states.device)], wanted[owner], self.settings.k)
            tables.append(self._table(targets, layer, readings[layer], owner, positions[kept], at_target, wanted))
        final_reading = readings[components.n_layers - 1]
        rows = prediction_rows(targets, wanted, final_reading, at_target.nonzero()[:, 0].tolist(), self._vocabulary)
        return {"logit_lens": pa.concat_tables(tables), "predictions": rows}

    def _table(
        self,
        targets: Sequence[Targeted],
        layer: int,
        reading: Reading,
        owner: torch.Tensor,
        positions: torch.Tensor,
        at_target: torch.Tensor,
        wanted: torch.Tensor,
    ) -> pa.Table:
        """Rows of one layer: n places with k ranks each; the target's columns stand on rank 1."""
        n, k = reading.ids.shape
        rows = np.repeat(owner.numpy(), k)
        columns: dict[str, Any] = {}
        shared = [each.columns() for each in targets]
        for name in shared[0]:
            if name in ("stratum", "position"):
                continue
            kind = pa.int32() if name == "sample_ix" else pa.string()
            columns[name] = pa.DictionaryArray.from_arrays(pa.array(rows.astype(np.int32)), pa.array([row[name] for row in shared], kind)).dictionary_decode()
        strata = [
            "every" if self.settings.positions == "all" and not here else targets[each].stratum
            for each, here in zip(owner.tolist(), at_target.tolist(), strict=True)
        ]
        columns["stratum"] = np.repeat(np.array(strata), k)
        columns["position"] = np.repeat(positions.numpy().astype(np.int32), k)
        columns["layer"] = np.full(n * k, layer, dtype=np.int32)
        columns["rank"] = np.tile(np.arange(1, k + 1, dtype=np.int32), n)
        ids = reading.ids.flatten().tolist()
        columns["token_id"] = pa.array(ids, pa.int32())
        columns["token"] = [self._vocabulary.text(token) for token in ids]
        columns["script"] = pa.array([self._vocabulary.script(token) for token in ids], pa.string())
        columns["logit"], columns["prob"] = reading.logits.flatten().numpy(), reading.probs.flatten().numpy()
        first = np.tile(np.arange(k) == 0, n)
        of_target = {
            "target_id": (wanted[owner], pa.int32()),
            "target_rank": (reading.target_rank, pa.int32()),
            "target_prob": (reading.target_prob, pa.float32()),
            "target_logit": (reading.target_logit, pa.float32()),
        }
        for name, (values, kind) in of_target.items():
            columns[name] = pa.array(np.repeat(values.numpy(), k), kind, mask=~first)
        return pa.table(columns)

    def summary(self, writer: RunWriter) -> dict[str, Any]:
        found = accuracy_of(writer)
        say_accuracy(self, found)
        return {**found, "k": self.settings.k, **self.self_checks}
