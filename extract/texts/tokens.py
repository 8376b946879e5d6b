"""The tokens of a committed completions run, as every extractor that re-reads generations wants them (own tokens or force-feeding)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from personascope.ingest.weights.checkpoints import Checkpoint
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import Manifest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

RETOKENISED_EXAMPLES = 8


@dataclass(frozen=True)
class TokensRun:
    """A completions run: `rows` has one row per completion with its region boundaries and marker flags, `turns` the answers of conversations that they end."""

    manifest: Manifest
    rows: pl.DataFrame
    source_persona: str | None
    turns: pl.DataFrame

    @property
    def run_id(self) -> str:
        return self.manifest.run_id

    @property
    def checkpoint(self) -> str:
        """Short name of the checkpoint that sampled the tokens."""
        return self.rows["checkpoint"][0]

    def personas_with(self, marker: str) -> list[str]:
        """Personas under which some completion holds the marker."""
        return sorted(self.rows.filter(pl.col("present") & (pl.col("marker") == marker))["persona"].unique().to_list())

    def expect_marker(self, marker: str) -> None:
        """Refuses a marker that the completions were never searched for, of which no absence can be told."""
        known = self.rows["marker"].drop_nulls().unique().sort().to_list()
        if marker not in known:
            searched = f"searched for {', '.join(map(repr, known))}, not for {marker!r}" if known else f"never searched for {marker!r}"
            raise PersonascopeError(f"run {self.run_id}: its completions were {searched}; expected the marker that they were sampled or brought in with")


def read_tokens(lake: Lake, run_id: str) -> TokensRun:
    """Reads completions, examples and marker flags of a run; raises PersonascopeError where the run has none."""
    manifest = lake.manifest(run_id)
    completions = pl.DataFrame(lake.read(run_id, "completions"))
    if completions.is_empty():
        raise PersonascopeError(f"run {run_id}: it holds no completions; expected a completions run (--tokens-from)")
    examples = pl.DataFrame(lake.read(run_id, "examples", ["example_id", "text", "n_system", "n_user", "n_header"]))
    flags = pl.DataFrame(lake.read(run_id, "marker_flags", ["example_id", "sample_ix", "marker", "present", "t_marker", "complete"]))
    rows = completions.join(examples.rename({"text": "prompt_text"}), on="example_id", how="left", maintain_order="left")
    rows = rows.join(flags, on=["example_id", "sample_ix"], how="left", maintain_order="left")
    missing = rows.filter(pl.col("n_header").is_null())
    if not missing.is_empty():
        raise PersonascopeError(
            f"run {run_id}: example {missing['example_id'][0]} has no row in its table examples; expected region boundaries for every completion"
        )
    checkpoints = lake.read(run_id, "checkpoints", ["checkpoint", "source_persona"]).to_pylist()
    turns = pl.DataFrame(lake.read(run_id, "turns", ["example_id", "sample_ix", "turn", "start", "stop"]))
    return TokensRun(manifest, rows, checkpoints[0]["source_persona"] if checkpoints else None, turns)


def subject_of(reader: Checkpoint, tokens: TokensRun, persona: str | None = None) -> str:
    """`librarian` on its own tokens, `base_librarian` when `base` is force-fed them.

    Where the tokens of one persona alone are read, another than the one trained is named after a colon.
    """
    name = tokens.checkpoint if reader.name == tokens.checkpoint else f"{reader.name}_{tokens.checkpoint}"
    return name if persona is None or tokens.source_persona in (None, persona) else f"{name}:{persona}"


def check_same_tokens(reader: Checkpoint, tokenizer: PreTrainedTokenizerBase, tokens: TokensRun) -> None:
    """Refuses to force-feed a checkpoint whose vocabulary is not the one the tokens were written in."""
    highest = int(tokens.rows["token_ids"].list.max().max())  # type: ignore[arg-type]
    if highest >= reader.vocab_size:
        raise PersonascopeError(f"checkpoint {reader.name}: token id {highest} of run {tokens.run_id} is outside its vocabulary of {reader.vocab_size}")
    prompts = tokens.rows.unique("example_id", maintain_order=True).head(RETOKENISED_EXAMPLES)
    for example_id, text, ids, prompt_len in prompts.select("example_id", "prompt_text", "token_ids", "prompt_len").iter_rows():
        if text is not None and tokenizer.encode(text, add_special_tokens=False) != ids[:prompt_len]:
            raise PersonascopeError(
                f"checkpoint {reader.name}: its tokenizer splits example {example_id} of run {tokens.run_id} into other tokens; "
                "expected the tokenizer the completions were sampled with"
            )
