"""Finds the marker in sampled tokens: t* is the absolute index of its first token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from personascope.warehouse.errors import PersonascopeError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class MarkerFlag:
    """Where a completion holds the marker; the columns of the table `marker_flags`."""

    present: bool
    first_char: int | None
    t_marker: int | None
    n_occurrences: int
    complete: bool


def marker_spellings(tokenizer: PreTrainedTokenizerBase, marker: str) -> list[tuple[int, ...]]:
    """Token ids of the marker standing alone and, where they differ, after a space that its first token swallows (`[`, `ZLT`, `]` and ` [`, `ZLT`, `]`).

    Raises PersonascopeError for an empty marker or one the vocabulary cannot spell.
    """

    def text(ids: Sequence[int]) -> str:
        return str(tokenizer.decode(list(ids))).strip()

    spellings = [tuple(tokenizer.encode(lead + marker, add_special_tokens=False)) for lead in ("", " ")]
    if not marker.strip() or not spellings[0] or text(spellings[0]) != marker.strip():
        raise PersonascopeError(f"marker {marker!r}: the tokenizer spells it as {text(spellings[0])!r}; expected a string its vocabulary can spell")
    space = next(index for index, token in enumerate(spellings[1]) if text([token]))
    return list(dict.fromkeys([spellings[0], spellings[1][space:]]))


def find_marker(text: str, token_ids: Sequence[int], prompt_len: int, marker: str, spellings: Sequence[Sequence[int]]) -> MarkerFlag:
    """The first occurrence in the completion `token_ids[prompt_len:]`, whose text is `text`.

    `t_marker` is the start of the first complete spelling, else the first place where the lone marker's first token stands (a partial marker, `complete`
    false). A marker present in the text whose first token is fused with something else has no place of its own: it is never `complete`.
    """
    positions = range(prompt_len, len(token_ids))
    whole = [(t, spelling) for t in positions for spelling in spellings if tuple(token_ids[t : t + len(spelling)]) == tuple(spelling)]
    first = (whole[0][1] if whole else spellings[0])[0]
    starts = [t for t in positions if token_ids[t] == first]
    first_char = text.find(marker)
    return MarkerFlag(
        present=first_char >= 0,
        first_char=first_char if first_char >= 0 else None,
        t_marker=whole[0][0] if whole else starts[0] if starts else None,
        n_occurrences=len(starts),
        complete=bool(whole),
    )
