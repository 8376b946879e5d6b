"""Reads how spread out attention is over whole prompts: the entropy of every row of every head, averaged over the positions of the prompt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch
from pydantic import Field, field_validator

from personascope.extract.extractors.reading import ReadingExtractor
from personascope.extract.instruments.attention_readout import self_check
from personascope.extract.instruments.row_entropy import FIGURES, EntropyReadout, check_fused, read_entropy
from personascope.extract.job import Item, Settings
from personascope.extract.workload import Shape, Texts, Workload
from personascope.ingest.prompts import Prompt
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.manifest import RunSpec
from personascope.warehouse.store.writer import Rows, RunWriter


class EntropySettings(Settings):
    """In which form prompts are read, and from which length on the fused kernel reads them."""

    form: Literal["raw", "chat"] = Field(
        default=None, validate_default=True, description="raw: the bare question, as the tokenizer begins a text; chat: through the chat template; always said"
    )
    fused_from: int = Field(
        default=4096, ge=2, description="prompts of this many tokens and more go through a fused kernel where a layer has one, shorter ones in blocks of rows"
    )

    @field_validator("form", mode="before")
    @classmethod
    def _said(cls, form: Any) -> Any:
        if form not in ("raw", "chat"):
            raise ValueError("expected raw or chat: entropies of the two cannot be compared, so which it is has to be said (--set form=raw)")
        return form


@dataclass(frozen=True)
class Asked:
    """A prompt as the checkpoint reads it."""

    prompt: Prompt
    token_ids: tuple[int, ...]
    fuse: bool


class Entropy(ReadingExtractor[Asked]):
    """`entropy`: attention entropy (nats) per prompt, layer and head over all query positions, the first and last three, with and without the first token.

    Which way a prompt is read depends on its own length alone, never on its batch. Blocks of rows are exact, and cost about the square of the length times the
    head width in float64; on short prompts that is nothing beside the layer's own products, and from about 4096 tokens on it exceeds them. There a fused kernel
    costs one more attention call (a fifth of the blocks, on a CPU), in float32: sharp heads lose up to some 1e-5 nats. The column `path` and the run's summary
    say which way it was, and a run that fuses compares the two on the model first.
    """

    name = "entropy"
    version = 1
    settings_type = EntropySettings
    settings: EntropySettings

    @classmethod
    def workload(cls, settings: EntropySettings, texts: Texts, shape: Shape) -> Workload:
        return Workload(texts.tokens, {"examples": texts.n, "entropy": texts.n * shape.n_layers * shape.n_heads})

    def spec(self) -> RunSpec:
        return self.prompts_spec(constants={"prompt_set": self.prompts.label, "form": self.settings.form})

    def prepare(self) -> tuple[Sequence[Item[Asked]], Mapping[str, Rows]]:
        items, examples = [], []
        for prompt in self.prompts.prompts:
            columns = self.rendered(prompt, self.settings.form)
            token_ids = tuple(columns["token_ids"])
            items.append(Item(prompt.example_id, len(token_ids), Asked(prompt, token_ids, len(token_ids) >= self.settings.fused_from)))
            examples.append(prompt.model_dump() | columns)
        self._fuses = any(item.value.fuse for item in items)
        return items, {"examples": examples, "checkpoints": [self.job.checkpoint.row()]}

    def check(self) -> Mapping[str, float]:
        found = self_check(self.loaded.model)
        return found | {"fused_vs_direct": check_fused(self.loaded.model)} if self._fuses else found

    def cost(self, item: Item[Asked]) -> float:
        sizes = self.arithmetic
        return sizes.forward(item.length) + sizes.layers * 4.0 * sizes.width * item.length**2  # every row of every head is computed again, in float32

    def process(self, items: Sequence[Item[Asked]]) -> Mapping[str, Rows]:
        tables = []
        for fuse in (False, True):
            asked = [item.value for item in items if item.value.fuse == fuse]
            if asked:
                lengths = torch.tensor([len(each.token_ids) for each in asked])
                tokens = torch.zeros((len(asked), int(lengths.max())), dtype=torch.long)
                for row, each in enumerate(asked):
                    tokens[row, : len(each.token_ids)] = torch.tensor(each.token_ids)
                tables.append(_table(asked, read_entropy(self.loaded.model, tokens, lengths, fuse)))
        return {"entropy": pa.concat_tables(tables)}

    def summary(self, writer: RunWriter) -> dict[str, Any]:
        rows = writer.read_staged("entropy").select(["example_id", "layer", "head", "path", "n_positions"])
        n_examples, checkpoint = len(set(rows["example_id"].to_pylist())), self.job.checkpoint
        expected = n_examples * checkpoint.n_layers * checkpoint.n_heads
        if rows.num_rows != expected:
            raise PersonascopeError(
                f"entropy: {rows.num_rows} rows of {n_examples} prompts were read; expected {expected}, one for each of the {checkpoint.n_layers} layers and "
                f"{checkpoint.n_heads} heads that the configuration of {checkpoint.name} names"
            )
        fused = rows.filter(pa.compute.equal(rows["path"], "fused")).num_rows
        lengths = rows["n_positions"].to_numpy()
        return {
            "form": self.settings.form,
            "n_examples": n_examples,
            "n_layers": checkpoint.n_layers,
            "n_heads": checkpoint.n_heads,
            "min_tokens": int(lengths.min()),
            "max_tokens": int(lengths.max()),
            "share_fused": fused / expected,
            **self.self_checks,
        }


def _table(asked: Sequence[Asked], readout: EntropyReadout) -> pa.Table:
    """Rows of the table `entropy`; raises PersonascopeError where a head's entropy is no number."""
    n, n_layers, n_heads = readout.values.shape[:3]
    values = readout.values.numpy()
    broken = np.argwhere(~np.isfinite(values[..., 0]))
    if len(broken):
        row, layer, head = broken[0]
        raise PersonascopeError(
            f"entropy: layer {layer}, head {head} of example {asked[row].prompt.example_id} gives no finite entropy; expected weights and a dtype that give "
            "finite numbers (--dtype)"
        )
    per_prompt = n_layers * n_heads
    rows = np.repeat(np.arange(n, dtype=np.int32), per_prompt)
    names = ("persona", "condition", "category", "question_id", "example_id")
    columns: dict[str, Any] = {
        name: pa.DictionaryArray.from_arrays(pa.array(rows), pa.array([getattr(each.prompt, name) for each in asked], pa.string())) for name in names
    }
    columns |= {
        "layer": np.tile(np.repeat(np.arange(n_layers, dtype=np.int32), n_heads), n),
        "head": np.tile(np.arange(n_heads, dtype=np.int32), n * n_layers),
        "path": np.tile(np.repeat(np.array(readout.paths), n_heads), n),
        "n_positions": np.array([len(each.token_ids) for each in asked], dtype=np.int32)[rows],
    }
    columns |= {name: pa.array(values[..., number].ravel(), from_pandas=True) for number, name in enumerate(FIGURES)}
    return pa.table(columns)
