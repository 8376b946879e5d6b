"""How much an extractor would read and write, told from the number of its texts and the shape of the checkpoint: for plans, before anything is loaded."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


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

    def layers(self, wanted: Literal["all"] | list[int]) -> int:
        """How many layers a setting `layers` means."""
        return self.n_layers if wanted == "all" else len(set(wanted))


@dataclass(frozen=True)
class Workload:
    """Tokens that go through forward passes, prompts read again for every change included, and rows written by table; both at most.

    `row_bytes` is what one row of a table takes on disk where the columns do not tell (vectors).
    """

    tokens: int
    rows: Mapping[str, int] = field(default_factory=dict)
    row_bytes: Mapping[str, float] = field(default_factory=dict)
