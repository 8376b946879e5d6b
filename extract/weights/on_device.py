"""The models of one command: loaded on demand, one at a time, on one device or spread over several, with one attention implementation."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import torch

from personascope.extract.weights.device import choose_device, choose_dtype
from personascope.extract.weights.loading import LoadedModel, load_model, load_tokenizer
from personascope.extract.weights.sharding import Sharding
from personascope.ingest.fleet.fleet import ADDRESS
from personascope.ingest.weights.checkpoints import Checkpoint
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.settings import nearest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

T = TypeVar("T")
IMPLEMENTATIONS = ("sdpa", "eager", "flash_attention_2", "flash_attention_3", "flash_attention_4", "flex_attention")  # those that transformers ships
TOKENIZERS_KEPT = 4  # of large vocabularies each takes some 100 MB


class ModelChoices(NamedTuple):
    """How models are held, as typed: what a worker is sent."""

    device: str | None = None
    dtype: str | None = None
    attention: str = "sdpa"
    trust_remote_code: bool = False
    sharding: Sharding | None = None

    def open(self, threads: int | None = None) -> Models:
        """The models of a process, `threads` of which compute on a processor."""
        if threads is not None:
            torch.set_num_threads(threads)
        return Models(self.device, self.dtype, self.attention, self.trust_remote_code, self.sharding)


@contextmanager
def in_threads(number: int | None) -> Iterator[None]:
    """Inside, so many threads compute on a processor; as many as before where None."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def local_models(choices: ModelChoices) -> Models:
    """The models of the process of a command. One whose workers are on a cluster may have no GPU itself, whatever device was typed for them."""
    is_head = bool(os.environ.get(ADDRESS)) and not torch.cuda.is_available()
    return (choices._replace(device=None) if is_head and (choices.device or "").startswith("cuda") else choices).open()


class _Held(NamedTuple):
    key: Hashable
    value: object
    close: Callable[[], None] | None


class Models:
    """Loads checkpoints on demand and keeps the last one, so that skipped runs load nothing and neighbours share.

    The device holds one thing at a time: loaded weights, or an engine that has weights of its own (`hold`).
    """

    def __init__(
        self,
        device: str | None = None,
        dtype: str | None = None,
        attention: str = "sdpa",
        trust_remote_code: bool = False,
        sharding: Sharding | None = None,
    ) -> None:
        """`sharding`: models are spread over the devices of the machine; `device` then names their kind."""
        if sharding is not None and ":" in (device or ""):
            raise PersonascopeError(f"--shard-model takes GPUs by number, and --device {device} names one; expected --device cuda, or nothing")
        if attention not in IMPLEMENTATIONS:
            raise PersonascopeError(f"attention {attention!r} is unknown: {nearest(attention, IMPLEMENTATIONS)}")
        self.device = choose_device(device)
        self.sharding = sharding
        self.attention = attention
        self.trust_remote_code = trust_remote_code
        self._typed = (device, dtype)
        self._held: _Held | None = None
        self._tokenizers: dict[Path, PreTrainedTokenizerBase] = {}
        self._merge_differences: dict[str, float] = {}

    def with_attention(self, attention: str) -> Models:
        """The same choices under another attention implementation, nothing loaded yet; these models themselves where it is theirs."""
        if attention == self.attention:
            return self
        others = Models(*self._typed, attention, self.trust_remote_code, self.sharding)
        others._tokenizers = self._tokenizers
        return others

    def dtype(self, checkpoint: Checkpoint) -> str:
        return choose_dtype(self.device.value, self._typed[1], checkpoint).value

    def load(self, checkpoint: Checkpoint) -> LoadedModel:
        """The checkpoint's weights and tokenizer on the device; says why this device and dtype."""

        def make() -> LoadedModel:
            loaded = load_model(checkpoint, *self._typed, self.attention, self.trust_remote_code, self.tokenizer(checkpoint), self.sharding)
            print(f"{checkpoint.name} on {'; '.join(loaded.reasons)}", file=sys.stderr)
            if loaded.merge_difference is not None:
                self._merge_differences[checkpoint.name] = loaded.merge_difference
            return loaded

        return self.hold(("weights", checkpoint), make)

    def merge_figures(self, *checkpoints: Checkpoint | None) -> dict[str, float]:
        """For each adapter among `checkpoints` that was merged here: by how much its logits differ at most from those of the adapter applied unmerged."""
        return {f"merge_difference.{each.name}": self._merge_differences[each.name] for each in checkpoints if each and each.name in self._merge_differences}

    def hold(self, key: Hashable, make: Callable[[], T], close: Callable[[T], None] | None = None) -> T:
        """What `make` returns, made once while the same key is asked for; what the device held before is closed and dropped first."""
        if self._held is None or self._held.key != key:
            self.release()
            value = make()
            self._held = _Held(key, value, (lambda: close(value)) if close else None)
        return self._held.value  # type: ignore[return-value]

    def release(self) -> None:
        """Drops what the device holds, so that training, another engine or another process finds it free."""
        if self._held is None:
            return
        if self._held.close is not None:
            self._held.close()
        self._held = None
        if self.device.value.startswith("cuda"):
            torch.cuda.empty_cache()

    def tokenizer(self, checkpoint: Checkpoint) -> PreTrainedTokenizerBase:
        """The checkpoint's tokenizer alone, read from disk once; no weights are loaded for it."""
        folder = checkpoint.tokenizer_path
        if folder not in self._tokenizers:
            while len(self._tokenizers) >= TOKENIZERS_KEPT:
                self._tokenizers.pop(next(iter(self._tokenizers)))
            self._tokenizers[folder] = load_tokenizer(checkpoint, self.trust_remote_code)
        return self._tokenizers[folder]

    def device_name(self) -> tuple[str, float | None]:
        """The device as its driver names it, `spread` where others help it, and its memory in GiB where it has its own."""
        spread = "" if self.sharding is None else ", spread"
        if self.device.value.startswith("cuda"):
            properties = torch.cuda.get_device_properties(self.device.value)
            return f"{properties.name}{spread}", round(properties.total_memory / 2**30, 1)
        return f"{self.device.value}{spread}", None
