"""Encodes activations by a sparse autoencoder block by block over its features, so that 131,072 features of 3,584 numbers fit a small machine."""

from dataclasses import dataclass

import torch
from torch import Tensor

from personascope.ingest.sae.autoencoder import Rule, Sae

_SHARE_OF_FREE = 0.5  # of the memory that a GPU has free, for an autoencoder that stays on it
_SPARSE_BLOCK = 16  # a block of which more than one row in so many is needed is read whole


@dataclass(frozen=True)
class Encoded:
    """The features that fire, sorted by row and feature: row and feature int64 [m], value float32 [m] above 0; on the device of the activations."""

    row: Tensor
    feature: Tensor
    value: Tensor


def placed(sae: Sae, device: torch.device) -> Sae:
    """The autoencoder on the GPU where it fits beside what is there, else where it is: then its blocks travel one by one."""
    if device.type == "cuda" and sae.n_bytes < _SHARE_OF_FREE * torch.cuda.mem_get_info(device)[0]:
        return sae.to(device)
    return sae


def encode(sae: Sae, activations: Tensor, rule: Rule) -> Encoded:
    """Features that fire on activations [n, d_model], in float32; the rules are those of `Sae.rule`.

    At most one block of the encoder and its pre-activations [n, block] are in memory. Top-k keeps the k largest of the blocks so far; ties at the k-th place
    are broken as torch.topk breaks them.
    """
    device = activations.device
    inputs = activations.float() - sae.b_dec.to(device) if sae.subtracts else activations.float()
    n, k = len(inputs), sae.k if rule == "topk" else None
    best = inputs.new_full((n, 0), 0.0)
    chosen = torch.zeros((n, 0), dtype=torch.long, device=device)
    pieces: list[tuple[Tensor, Tensor, Tensor]] = []
    limits = None if rule != "threshold" or sae.threshold is None else sae.threshold.clamp(min=0).to(device)
    for start, stop in sae.encoder.blocks():
        pre = inputs @ sae.encoder.rows(start, stop).to(device).T + sae.b_enc[start:stop].to(device)
        if k is not None:
            values, index = pre.topk(min(k, stop - start), dim=1)
            best, order = torch.cat([best, values], 1).topk(min(k, best.shape[1] + values.shape[1]), dim=1)
            chosen = torch.cat([chosen, index + start], 1).gather(1, order)
            continue
        above = pre > (0 if limits is None else limits if limits.ndim == 0 else limits[start:stop])
        row, feature = above.nonzero(as_tuple=True)
        pieces.append((row, feature + start, pre[row, feature]))
    if k is not None:
        row, place = (best > 0).nonzero(as_tuple=True)
        pieces = [(row, chosen[row, place], best[row, place])]
    row, feature, value = (torch.cat(parts) for parts in zip(*pieces, strict=True))
    order = (row * sae.n_features + feature).argsort()
    return Encoded(row[order], feature[order], value[order])


def decode(sae: Sae, encoded: Encoded, n: int) -> Tensor:
    """Reconstruction [n, d_model] of the activations, float32, on the device of the features."""
    device = encoded.value.device
    total = sae.b_dec.to(device).expand(n, -1).clone()
    for start, stop in sae.decoder.blocks():
        inside = (encoded.feature >= start) & (encoded.feature < stop)
        used, place = encoded.feature[inside].unique(return_inverse=True)
        if not len(used):
            continue
        if len(used) * _SPARSE_BLOCK > stop - start:  # reading the whole block is faster than gathering many rows of it
            directions, place = sae.decoder.rows(start, stop).to(device), encoded.feature[inside] - start
        else:
            directions = sae.decoder.pick(used).to(device)
        dense = torch.zeros((n, len(directions)), device=device)
        dense[encoded.row[inside], place] = encoded.value[inside]
        total += dense @ directions
    return total


def unexplained(sae: Sae, activations: Tensor, reconstruction: Tensor) -> Tensor:
    """Per activation: squared length of what is left over, relative to that of the activation less the decoder's bias [n]."""
    size = (activations.float() - sae.b_dec.to(activations.device)).pow(2).sum(1)
    return (activations.float() - reconstruction).pow(2).sum(1) / size
