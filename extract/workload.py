"""How much an extractor would read and write, told from the number of its texts and the shape of the checkpoint: for plans, before anything is loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from personascope.ingest.weights.checkpoints import Checkpoint
from personascope.warehouse.errors import PersonascopeError


@dataclass(frozen=True)
class Texts:
    """What would be read: `n` prompts or completions with `tokens` tokens in all; counted where `counted`, else estimated at four characters a token.

    Of completions, `repeats` is how many each prompt has, and `n_personas` of how many personas they are.
    """

    n: int
    tokens: int
    counted: bool = False
    repeats: int = 0
    n_personas: int = 0


@dataclass(frozen=True)
class Directed:
    """How many directions of a checkpoint there are, and how many controls beside them, at how many layers."""

    n: int
    n_controls: int
    n_layers: int


@dataclass(frozen=True)
class Shape:
    """The sizes of a checkpoint that decide how many rows a reading of it has, and the directions in it, where they are known."""

    n_layers: int
    n_heads: int
    d_model: int
    directed: Directed | None = None

    @staticmethod
    def of(checkpoint: Checkpoint) -> "Shape":
        return Shape(checkpoint.n_layers, checkpoint.n_heads, checkpoint.d_model)

    def layers(self, wanted: Literal["all"] | list[int]) -> int:
        """How many layers a setting `layers` means."""
        return self.n_layers if wanted == "all" else len(set(wanted))


def check_layers(extractor: str, checkpoint: str, n_layers: int, asked: Literal["all"] | Sequence[int], from_end: bool = True) -> None:
    """Raises PersonascopeError for a layer that a checkpoint of so many does not have, and for none; negative ones count from the end with `from_end`."""
    if asked == "all":
        return
    if not asked:
        raise PersonascopeError(f"{extractor}: setting 'layers' is []; expected at least one layer, or all")
    for layer in asked:
        if not -n_layers * from_end <= layer < n_layers:
            also = f", or -{n_layers} to -1" if from_end else ""
            raise PersonascopeError(f"{extractor}: layer {layer} is not in checkpoint {checkpoint}; expected 0 to {n_layers - 1}{also}")


@dataclass(frozen=True)
class Workload:
    """Tokens that go through forward passes, prompts read again for every change included, and rows written by table; both at most.

    `row_bytes` is what one row of a table takes on disk where the columns do not tell (vectors).
    """

    tokens: int
    rows: Mapping[str, int] = field(default_factory=dict)
    row_bytes: Mapping[str, float] = field(default_factory=dict)
