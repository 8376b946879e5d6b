"""Whether a tokenizer is an embedding's own: a few tokens beyond it were added and never trained, many more or far fewer are another model's."""

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
