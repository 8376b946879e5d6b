"""Whether a tokenizer is an embedding's own: a few tokens beyond it were added and never trained, many more or far fewer are another model's."""

from collections.abc import Iterable
from typing import Any

from personascope.warehouse.errors import PersonascopeError

_ADDED = 1024  # tokens that a tokenizer may have beyond the embedding; makers pad embeddings to such multiples, and add tokens by the dozen
_SMALLEST = 0.5  # share of the embedding's rows that a tokenizer fills; padding leaves more than nine tenths


def check_vocabulary(tokenizer: Any, rows: int, where: str) -> None:
    """Raises PersonascopeError where a tokenizer's size shows that it is another model's than the one whose embedding has `rows` rows."""
    size = len(tokenizer)
    if size > rows + min(_ADDED, rows // 2):
        raise PersonascopeError(f"{where} has {size:,} tokens but the model embeds {rows:,}: it belongs to another model.")
    if size < _SMALLEST * rows:
        raise PersonascopeError(f"{where} has {size:,} tokens for the {rows:,} that the model embeds: it is damaged, or belongs to another model.")


def check_ids(ids: Iterable[int], rows: int, tokenizer: Any, where: str) -> None:
    """Raises PersonascopeError where `ids` hold a token that has no row in an embedding of `rows` rows; `where` begins the sentence and says who reads what."""
    if (highest := max(ids, default=0)) >= rows:
        text = tokenizer.convert_ids_to_tokens(highest)
        raise PersonascopeError(f"{where} holds token {highest} ({text!r}), which was added to the tokenizer and has none of the model's {rows:,} embeddings.")


def padding_id(tokenizer: Any, rows: int) -> int | None:
    """The token that fills up batches, where attention masks hide it: the tokenizer's padding token if the model embeds it, else its end token."""
    pad = tokenizer.pad_token_id
    return tokenizer.eos_token_id if pad is None or pad >= rows else pad
