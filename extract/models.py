"""The models of one command: loaded on demand, on one device, with one attention implementation."""

import sys

import torch
from transformers import PreTrainedTokenizerBase

from extract.device import choose_device, choose_dtype
from extract.model import LoadedModel, load_model, load_tokenizer
from ingest.checkpoints import Checkpoint


class Models:
    """Loads checkpoints on demand and keeps the last one, so that skipped runs load nothing and neighbours share."""

    def __init__(self, device: str | None = None, dtype: str | None = None, attention: str = "sdpa", trust_remote_code: bool = False) -> None:
        self.device = choose_device(device)
        self.attention = attention
        self.trust_remote_code = trust_remote_code
        self._typed = (device, dtype)
        self._loaded: LoadedModel | None = None

    def with_attention(self, attention: str) -> "Models":
        """The same choices under another attention implementation, nothing loaded yet; these models themselves where it is theirs."""
        return self if attention == self.attention else Models(*self._typed, attention, self.trust_remote_code)

    def dtype(self, checkpoint: Checkpoint) -> str:
        return choose_dtype(self.device.value, self._typed[1], checkpoint).value

    def load(self, checkpoint: Checkpoint) -> LoadedModel:
        """The checkpoint's weights and tokenizer on the device; says why this device and dtype."""
        if self._loaded is None or self._loaded.checkpoint != checkpoint:
            self._loaded = None
            self._loaded = load_model(checkpoint, *self._typed, self.attention, self.trust_remote_code)
            print(f"{checkpoint.name} on {'; '.join(self._loaded.reasons)}", file=sys.stderr)
        return self._loaded

    def release(self) -> None:
        """Drops the loaded weights, so that other processes find the device free."""
        self._loaded = None
        if self.device.value.startswith("cuda"):
            torch.cuda.empty_cache()

    def tokenizer(self, checkpoint: Checkpoint) -> PreTrainedTokenizerBase:
        """The checkpoint's tokenizer alone; no weights are loaded for it."""
        if self._loaded is not None and self._loaded.checkpoint == checkpoint:
            return self._loaded.tokenizer
        return load_tokenizer(checkpoint, self.trust_remote_code)

    def device_name(self) -> tuple[str, float | None]:
        """The device as its driver names it, and its memory in GiB where it has its own."""
        if self.device.value.startswith("cuda"):
            properties = torch.cuda.get_device_properties(self.device.value)
            return properties.name, round(properties.total_memory / 2**30, 1)
        return self.device.value, None
