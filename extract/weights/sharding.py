"""A model that is larger than any one device, its layers spread over GPUs, the processor's memory and the disk: where they may go, and what that needs."""

from __future__ import annotations

import logging
import weakref
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.home import cache_root
from personascope.warehouse.settings import short

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

    from personascope.ingest.weights.checkpoints import Checkpoint

AUTO = "auto"
EXPECTED = "expected auto, or how much of a model each device may hold, as 0=70GiB,1=70GiB,cpu=200GiB"

Sharding = tuple[tuple[int | str, int], ...]
"""Bytes of a model that devices may hold, GPUs by number; the rest of it stays on disk. Empty: what is free on all of them."""


def parse_sharding(typed: str | None) -> Sharding | None:
    """What `--shard-model` says; None where nothing was typed. Raises PersonascopeError for what is neither `auto` nor sizes of devices."""
    if typed is None:
        return None
    if typed.strip().lower() == AUTO:
        return ()
    from accelerate.utils.modeling import convert_file_size_to_int

    found: dict[int | str, int] = {}
    for part in typed.split(","):
        name, equals, size = (each.strip() for each in part.partition("="))
        device: int | str = int(name) if name.isdecimal() else name.lower()
        try:
            held = convert_file_size_to_int(size)
        except ValueError:
            held = -1
        if not equals or device in found or held <= 0 or (isinstance(device, str) and device not in ("cpu", "mps")):
            raise PersonascopeError(f"--shard-model {short(typed)}: {short(part)} is no memory of a device; {EXPECTED}")
        found[device] = held
    return tuple(found.items())


class Placement(NamedTuple):
    """How transformers is to place a model, and the folder for weights of a spread one that the files hold in another form."""

    arguments: dict[str, Any]
    folder: TemporaryDirectory[str] | None = None


def placement(sharding: Sharding | None, device: str) -> Placement:
    """Whole on `device`, or spread, the layers of one device one behind the other."""
    if sharding is None:
        return Placement({"device_map": {"": device}})
    import torch

    if not sharding and device == "cpu" and torch.cuda.is_available():
        raise PersonascopeError("--shard-model auto takes the GPUs of this machine, and --device cpu leaves them out; expected one of the two, or cpu=SIZE")
    logging.getLogger("accelerate.big_modeling").setLevel(logging.ERROR)  # where the parts went is said by `spread`
    cache_root().mkdir(parents=True, exist_ok=True)
    folder = TemporaryDirectory(prefix="shards-", dir=cache_root(), ignore_cleanup_errors=True)
    return Placement({"device_map": AUTO, "max_memory": dict(sharding) or None, "offload_folder": folder.name}, folder)


def spread(model: PreTrainedModel, placed: Placement, checkpoint: Checkpoint) -> tuple[str, ...]:
    """Where the layers of a spread model went, in words, nothing of one on one device; the folder of `placed` goes with the model.

    Raises PersonascopeError where its embeddings found no device, or where an adapter would be merged into layers that stay on disk.
    """
    if placed.folder is None:
        return ()
    weakref.finalize(model, placed.folder.cleanup)
    if model.device.type == "meta":
        raise PersonascopeError(f"--shard-model: no device has room for the embeddings of {checkpoint.id}; {EXPECTED}")
    away = sorted(name for name, each in model.named_parameters() if each.device.type == "meta")
    if away and checkpoint.adapter:
        raise PersonascopeError(
            f"--shard-model: {len(away)} tensors of {checkpoint.id} do not fit its devices and are fetched when they are used, and no adapter can be merged "
            "into those; merge it with PEFT, save the result, and give that folder"
        )
    parts = Counter(f"GPU {place}" if isinstance(place, int) else str(place) for place in getattr(model, "hf_device_map", {"": model.device}).values())
    return (f"spread: {', '.join(f'{count} of its parts on {place}' for place, count in parts.items())}",)


def at_hand(module: nn.Module) -> AbstractContextManager[Any]:
    """Within it the weights of a module can be looked at, also where they wait elsewhere until it is called."""
    if not any(each.device.type == "meta" for each in module.parameters()):
        return nullcontext()
    from accelerate.utils import align_module_device

    held: AbstractContextManager[Any] = align_module_device(module)
    return held
