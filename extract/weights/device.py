"""Chooses device and dtype and says why, so that the reason can be printed and recorded with every run."""

from typing import NamedTuple

import torch

from personascope.ingest.weights.checkpoints import Checkpoint
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.settings import nearest

DTYPES = ("float32", "bfloat16", "float16")


class Choice(NamedTuple):
    """A value and the reason for it, as printed: `cpu: no CUDA or MPS device found`."""

    value: str
    reason: str


def choose_device(requested: str | None = None) -> Choice:
    """The device typed (`cuda`, `cuda:1`, `mps`, `cpu`), else the first of cuda, mps, cpu that is there."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    mps = torch.backends.mps.is_available()
    if requested is not None:
        return _typed_device(requested.strip().lower(), gpus, mps)
    if gpus:
        more = f", the first of {gpus}" if gpus > 1 else ""
        return Choice("cuda:0", f"cuda:0: {_gpu(0)}{more}")
    if mps:
        return Choice("mps", "mps: Apple GPU, no CUDA device found")
    return Choice("cpu", "cpu: no CUDA or MPS device found")


def choose_dtype(device: str, requested: str | None = None, checkpoint: Checkpoint | None = None) -> Choice:
    """The dtype typed (float32, bfloat16, float16), else the one that suits `device` and the dtype the weights are stored in.

    On CUDA that is the stored dtype, so that no weight is rounded, or bfloat16 when it is unknown, or float32 on a GPU without bfloat16;
    elsewhere float32.
    """
    if requested is not None:
        dtype = requested.strip().lower().removeprefix("torch.")
        if dtype not in DTYPES:
            raise PersonascopeError(f"dtype {requested!r} is unknown: {nearest(dtype, DTYPES)}")
        if dtype == "bfloat16" and device.startswith("cuda") and not _has_bfloat16(device):
            raise PersonascopeError(f"dtype bfloat16 is not supported by {device} ({_gpu(_index(device))}): type float32 or float16.")
        return Choice(dtype, f"{dtype}: as typed")
    if not device.startswith("cuda"):
        return Choice("float32", f"float32: exact and safe on {device}")
    stored = checkpoint.stored_dtype if checkpoint else None
    if stored in ("float32", "float16"):
        return Choice(stored, f"{stored}: the weights are stored so")
    if not _has_bfloat16(device):
        return Choice("float32", f"float32: {_gpu(_index(device))} has no bfloat16")
    known = "the weights are stored so" if stored == "bfloat16" else "usual for weights on CUDA"
    return Choice("bfloat16", f"bfloat16: {known} and {device} supports it")


def memory(device: str) -> str:
    """Free and total memory of a CUDA device in words, empty for other devices."""
    if not device.startswith("cuda"):
        return ""
    free, total = torch.cuda.mem_get_info(_index(device))
    return f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB free"


def _typed_device(device: str, gpus: int, mps: bool) -> Choice:
    kind, _, index = device.partition(":")
    if kind not in ("cuda", "mps", "cpu") or (index and not index.isdigit()) or (index and kind != "cuda"):
        raise PersonascopeError(f"device {device!r} is unknown: expected cuda, cuda:<number>, mps or cpu.")
    if kind == "mps" and not mps:
        raise PersonascopeError("device mps was asked for, but this torch finds no Apple GPU: type cpu, or leave the device out.")
    if kind == "cuda":
        if not gpus:
            built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
            raise PersonascopeError(f"device {device} was asked for, but this torch ({built}) finds no CUDA device: type cpu, or check nvidia-smi.")
        if int(index or 0) >= gpus:
            raise PersonascopeError(f"device {device} was asked for, but there are {gpus} CUDA devices: expected cuda:0 to cuda:{gpus - 1}.")
        device = f"cuda:{int(index or 0)}"
        return Choice(device, f"{device}: as typed ({_gpu(int(index or 0))})")
    return Choice(kind, f"{kind}: as typed")


def _index(device: str) -> int:
    return int(device.partition(":")[2] or 0)


def _gpu(index: int) -> str:
    properties = torch.cuda.get_device_properties(index)
    return f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"


def _has_bfloat16(device: str) -> bool:
    with torch.cuda.device(_index(device)):
        return torch.cuda.is_bf16_supported(including_emulation=False)
