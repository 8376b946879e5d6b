"""Writes safetensors files a block of rows at a time, so that a tensor is never in memory as a whole."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SHARD_BYTES = 4 << 30
_INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class Stream:
    """A float32 tensor to be written: its shape, and a function that yields its numbers in order."""

    shape: tuple[int, ...]
    blocks: Callable[[], Iterator[np.ndarray]]

    @property
    def n_bytes(self) -> int:
        return 4 * math.prod(self.shape)


def write_model(folder: Path, tensors: Mapping[str, Stream], shard_bytes: int = SHARD_BYTES) -> None:
    """Write tensors as `model.safetensors`, or as shards of at most `shard_bytes` (one tensor at least) with their index, as save_pretrained names them."""
    shards: list[dict[str, Stream]] = [{}]
    for name, tensor in tensors.items():
        if shards[-1] and sum(each.n_bytes for each in shards[-1].values()) + tensor.n_bytes > shard_bytes:
            shards.append({})
        shards[-1][name] = tensor
    if len(shards) == 1:
        _write(folder / "model.safetensors", shards[0])
        return
    files = [f"model-{number:05d}-of-{len(shards):05d}.safetensors" for number in range(1, len(shards) + 1)]
    for file, shard in zip(files, shards, strict=True):
        _write(folder / file, shard)
    places = {name: file for file, shard in zip(files, shards, strict=True) for name in shard}
    size = sum(tensor.n_bytes for tensor in tensors.values())
    (folder / _INDEX).write_text(json.dumps({"metadata": {"total_size": size}, "weight_map": places}, indent=1), encoding="utf-8")


def _write(path: Path, tensors: Mapping[str, Stream]) -> None:
    """One file: the length of the header in 8 bytes, the header as JSON, the numbers of one tensor after the other."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [end, end + tensor.n_bytes]}
        end += tensor.n_bytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, tensor in tensors.items():
            written = 0
            for block in tensor.blocks():
                written += file.write(np.ascontiguousarray(block, dtype="<f4").data)
            if written != tensor.n_bytes:
                raise ValueError(f"tensor {name} gave {written} bytes, expected {tensor.n_bytes}")
