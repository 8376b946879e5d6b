"""Activations of many tokens, layer by layer on disk, read in an order of their own: what an autoencoder is trained on, with bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from personascope.extract.instruments.residual import Capture, Site

BLOCK = 8192  # rows that are read at once


@dataclass(frozen=True)
class Pool:
    """Activations of one layer: row i is data[order[i]], float32 [d]. `data` is held in memory or mapped from a file, which changes no number."""

    data: np.ndarray
    order: Tensor

    @staticmethod
    def of(rows: Tensor) -> Pool:
        """The rows of a tensor [n, d] as they are."""
        return Pool(rows.numpy(), torch.arange(len(rows)))

    def __len__(self) -> int:
        return len(self.order)

    @property
    def width(self) -> int:
        return int(self.data.shape[1])

    def part(self, wanted: Tensor) -> Pool:
        """The rows whose place in `wanted`, boolean [n], is true."""
        return Pool(self.data, self.order[wanted])

    def take(self, index: Tensor) -> Tensor:
        """Rows [k, d] by their number, a copy."""
        return torch.from_numpy(self.data[self.order[index].numpy()])

    def blocks(self) -> Iterator[Tensor]:
        """All rows, BLOCK at a time."""
        for index in torch.arange(len(self)).split(BLOCK):
            yield self.take(index)

    def moments(self) -> tuple[Tensor, float]:
        """Mean [d] of the rows, float64, and the sum of squared distances from it; sums in float64."""
        mean = torch.stack([block.double().sum(0) for block in self.blocks()]).sum(0) / len(self)
        return mean, float(sum((block.double() - mean).square().sum() for block in self.blocks()))


@dataclass
class StagedCapture(Capture):
    """A capture that keeps nothing: what a forward pass leaves at the wanted positions goes to the file of its layer at once."""

    files: dict[int, BinaryIO] = field(default_factory=dict)

    def keep(self, layer: int, site: Site, hidden: Tensor) -> None:
        rows, places = (self.positions >= 0).nonzero(as_tuple=True)
        chosen = hidden[rows.to(hidden.device), self.positions[rows, places].to(hidden.device)]
        self.files[layer].write(chosen.float().cpu().contiguous().numpy().data)


def staged_file(folder: Path, layer: int) -> Path:
    """The file of one layer, float32 rows one after the other."""
    return folder / f"layer-{layer:04d}.f32"


def staged_pool(folder: Path, layer: int, width: int, order: Tensor, memory_bytes: float) -> Pool:
    """The staged activations of a layer in this order, read into memory where they fit `memory_bytes`, mapped otherwise."""
    path = staged_file(folder, layer)
    fits = path.stat().st_size <= memory_bytes
    data = np.fromfile(path, dtype=np.float32) if fits else np.memmap(path, dtype=np.float32, mode="r")
    return Pool(data.reshape(-1, width), order)


def needed_bytes(n: int, layers: Sequence[int], width: int) -> int:
    """What the staged activations of n tokens take on disk."""
    return 4 * n * len(layers) * width
