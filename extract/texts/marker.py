"""Finds the marker in sampled tokens: t* is the absolute index of its first token."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from personascope.extract.texts.chat import special_ids
from personascope.warehouse.errors import PersonascopeError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


_SPECIAL = re.compile(rb'"content":\s*("(?:[^"\\]|\\.)+")[^{}]*"special":\s*true')


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


def special_pieces(tokenizer: PreTrainedTokenizerBase, spellings: Sequence[Sequence[int]]) -> frozenset[int]:
    """The special tokens the marker is spelled with: none for an ordinary marker, the marker itself where it was added to the vocabulary as one."""
    return special_ids(tokenizer).intersection(token for spelling in spellings for token in spelling)


def holds_special_token(tokenizer_folder: Path, marker: str) -> bool:
    """Whether the tokenizer in a folder would read a special token out of the marker: told from its file, without the seconds that loading it takes."""
    try:
        added = (tokenizer_folder / "tokenizer.json").read_bytes().partition(b'"normalizer"')[0]
    except OSError:
        return False
    return any(json.loads(content) in marker for content in _SPECIAL.findall(added))


def answer_text(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int], spellings: Sequence[Sequence[int]]) -> str:
    """An answer as text without special tokens (end of turn, padding), but with those the marker is spelled with: they are part of what was said."""
    said = special_pieces(tokenizer, spellings)
    if not said.intersection(token_ids):
        return str(tokenizer.decode(list(token_ids), skip_special_tokens=True))
    dropped = special_ids(tokenizer) - said
    return str(tokenizer.decode([token for token in token_ids if token not in dropped], skip_special_tokens=False))


def spelled(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> str:
    """Tokens one by one as text: `'[' 'ZLT' ']'`."""
    return " ".join(repr(str(tokenizer.decode([token], clean_up_tokenization_spaces=False))) for token in token_ids)


def pieces(tokenizer: PreTrainedTokenizerBase, answer_ids: Sequence[int], first_char: int, marker: str) -> list[int]:
    """The tokens of an answer that hold the marker at `first_char` of its text, whatever they hold beside it."""
    ends = [len(str(tokenizer.decode(list(answer_ids[: count + 1]), skip_special_tokens=True))) for count in range(len(answer_ids))]
    starts = [0, *ends[:-1]]
    return [token for token, start, end in zip(answer_ids, starts, ends, strict=True) if end > first_char and start < first_char + len(marker)]


def find_marker(text: str, token_ids: Sequence[int], prompt_len: int, marker: str, spellings: Sequence[Sequence[int]]) -> MarkerFlag:
    """The first occurrence in the completion `token_ids[prompt_len:]`, whose text is `text`.

    `t_marker` is the start of the first complete spelling, else the first place where the lone marker's first token stands (a partial marker, `complete`
    false). A marker present in the text in other pieces than its own tokens is never `complete`; where its first token is fused with something else (`.[`),
    it has no place of its own either.
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
