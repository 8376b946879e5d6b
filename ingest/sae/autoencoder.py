"""One sparse autoencoder, whatever file it came from: which features fire is decided by one of three rules, and its matrices are read a block at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from personascope.warehouse.errors import PersonascopeError

Format = Literal["dictionary_learning", "sae_lens", "personascope"]
Architecture = Literal["standard", "topk", "batchtopk", "jumprelu"]
Rule = Literal["relu", "threshold", "topk"]
Inference = Literal["auto", "threshold", "topk"]

BLOCK_NUMBERS = 1 << 25  # of a matrix that are in memory as float32 at once: 128 MiB


@dataclass(frozen=True)
class Matrix:
    """A matrix [n_features, d_model] behind a tensor that may be memory-mapped, stored the other way round, or in half precision."""

    stored: Tensor
    transposed: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        rows, columns = self.stored.shape
        return (columns, rows) if self.transposed else (rows, columns)

    def rows(self, start: int, stop: int) -> Tensor:
        """Rows [start, stop), float32, on the device of the stored tensor."""
        block = self.stored[:, start:stop].T if self.transposed else self.stored[start:stop]
        return block.float()

    def pick(self, features: Tensor) -> Tensor:
        """The rows of these features [n, d_model], float32, on the device of the stored tensor."""
        index = features.to(self.stored.device)
        return (self.stored.index_select(1, index).T if self.transposed else self.stored.index_select(0, index)).float()

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Bounds of blocks of rows of bounded size."""
        n_rows, width = self.shape
        step = max(1, BLOCK_NUMBERS // width)
        return ((start, min(start + step, n_rows)) for start in range(0, n_rows, step))

    def to(self, device: torch.device) -> "Matrix":
        return Matrix(self.stored.to(device), self.transposed)


@dataclass(frozen=True)
class Sae:
    """Features of one layer: pre = encoder (x - b_dec) + b_enc, x being taken as it is where `subtracts` is false; x' = decoder^T value + b_dec.

    encoder, decoder [n_features, d_model]; b_enc [n_features] and b_dec [d_model] float32; threshold: a number or one per feature, None where there is none.
    """

    format: Format
    architecture: Architecture
    encoder: Matrix
    decoder: Matrix
    b_enc: Tensor
    b_dec: Tensor
    subtracts: bool = True
    k: int | None = None
    threshold: Tensor | None = None
    layer: int | None = None
    site: str | None = None
    neuronpedia: str | None = None
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def n_features(self) -> int:
        return self.encoder.shape[0]

    @property
    def d_model(self) -> int:
        return self.encoder.shape[1]

    def rule(self, inference: Inference) -> Rule:
        """By which rule features fire; raises PersonascopeError where the autoencoder lacks what the rule needs.

        - relu: pre above 0 (architecture standard);
        - threshold: pre above the threshold, and above 0;
        - topk: the k largest pre-activations of the token that are above 0. A BatchTopK autoencoder is trained with k per token on average over a batch, so
          neither rule is its training rule: the threshold is the one its authors estimate for single tokens, top-k what the published comparison used.
        auto does what the class of the files does by itself: top-k for a TopK autoencoder, else the threshold where there is one, then top-k, then relu.
        """
        if inference == "threshold" and self.threshold is None:
            raise PersonascopeError(f"inference is 'threshold', and this {self.architecture} autoencoder has no threshold; expected topk or auto")
        if inference == "topk" and self.k is None:
            raise PersonascopeError(f"inference is 'topk', and this {self.architecture} autoencoder has no k; expected threshold or auto")
        if inference != "auto":
            return inference
        if self.architecture == "topk" and self.k is not None:
            return "topk"
        return "threshold" if self.threshold is not None else "topk" if self.k is not None else "relu"

    def decoder_rows(self, features: Sequence[int], unit: bool = False) -> np.ndarray:
        """Decoder directions of these features, float32 [n, d_model], of length 1 with `unit`."""
        rows = self.decoder.pick(torch.as_tensor(list(features), dtype=torch.long)).cpu()
        return (unit_rows(rows) if unit else rows).numpy()

    def to(self, device: torch.device) -> "Sae":
        """The same with everything on a device."""
        moved = {name: getattr(self, name).to(device) for name in ("encoder", "decoder", "b_enc", "b_dec")}
        threshold = None if self.threshold is None else self.threshold.to(device)
        return Sae(**{**self.__dict__, **moved, "threshold": threshold})

    @property
    def n_bytes(self) -> int:
        """Size of the two matrices as they are stored."""
        return sum(each.stored.numel() * each.stored.element_size() for each in (self.encoder, self.decoder))


def unit_rows(rows: Tensor) -> Tensor:
    """Rows [n, d] of length 1; a row of zeros stays one."""
    return rows / rows.norm(dim=1, keepdim=True).clamp(min=torch.finfo(rows.dtype).tiny)
