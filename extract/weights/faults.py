"""What the loading of weights says of faults: names of tensors in a few words, and whether an error means that memory did not suffice."""

from collections.abc import Iterable, Sequence

import torch

from personascope.warehouse.errors import PersonascopeError


def some(names: Sequence[str]) -> str:
    """The first three names, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def refuse_gaps(keys: Iterable[str], what: str, remedy: str) -> None:
    """Left-over parameters would keep random values, so any is an error."""
    if names := sorted(keys):
        raise PersonascopeError(f"{what} {some(names)}: {remedy}.")


def out_of_memory(error: BaseException) -> bool:
    """Whether torch ran out of memory: its own class on CUDA, worded differently by the CPU and MPS allocators."""
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(word in str(error).lower() for word in words)
