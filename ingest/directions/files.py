"""Reads and writes directions in the files of other tools: persona vectors (.pt), arrays (.npy, .safetensors) and control vectors (.gguf); pickles never run.

A row of an array with one row more than the model has layers is numbered as hidden states are: row 0 is the embedding, row l the output of layer l - 1. With as
many rows as layers, row l is the output of layer l. A control vector names layers as llama.cpp adds it: `direction.l` to the output of layer l, from 1.
"""

import pickle
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from personascope.ingest.weights.checkpoints import Checkpoint
from personascope.ingest.weights.gguf_file import library, read_gguf
from personascope.warehouse.errors import PersonascopeError, one_line
from personascope.warehouse.pointers import refuse_pointer

RESID_POST = "resid_post"
CONTROL_VECTOR = "controlvector"
MAGIC, PICKLED = b"\x93NUMPY", b"\x80"  # how an array of numpy begins, and a pickle
_TORCH = (".pt", ".pth", ".bin")
_OWN = re.compile(r"(?P<name>.+)@(?P<site>resid_pre|attn_out|mlp_out|resid_post)\.(?P<layer>\d+)")
_GGUF_TENSOR = re.compile(r"direction\.(\d+)")


class Vector(NamedTuple):
    """A direction [d_model], float32, of one layer and site."""

    name: str
    layer: int
    site: str
    vector: np.ndarray


def read_vectors(path: Path, checkpoint: Checkpoint, layers: Sequence[int] | None = None) -> list[Vector]:
    """The directions in a file that are of these layers (None: all), for a model of the checkpoint's shape.

    A file that names none of them gives its own name. Raises PersonascopeError for a file of no known kind, one that holds more than numbers, another width
    or number of layers, a control vector of another model, and where no direction is of these layers.
    """
    refuse_pointer(path)
    suffix = path.suffix.lower()
    if suffix in _TORCH:
        found = list(_of_object(path, _torch(path), checkpoint, layers))
    elif suffix == ".npy":
        found = list(_of_array(path, path.stem, _numpy(path), checkpoint, layers))
    elif suffix == ".safetensors":
        found = list(_of_safetensors(path, checkpoint, layers))
    elif suffix == ".gguf":
        found = list(_of_control_vector(path, checkpoint))
    else:
        raise PersonascopeError(f"{path} is no file of directions; expected {', '.join((*_TORCH, '.safetensors', '.npy'))} or .gguf")
    kept = [each for each in found if layers is None or each.layer in layers]
    if not kept:
        there = ", ".join(map(str, sorted({each.layer for each in found}))) or "none"
        raise PersonascopeError(f"{path}: no direction is of layer {', '.join(map(str, layers or ()))}; the layers it has: {there}")
    return sorted(kept, key=lambda each: (each.name, each.site, each.layer))


def write_vectors(path: Path, vectors: Sequence[Vector], family: str, n_layers: int) -> None:
    """Writes directions as the ending says: .safetensors holds any; .pt, .npy and .gguf hold one direction of resid_post.

    An array has a row for the embedding, of zeros, and one for every layer, since tools take rows by number. The file takes its place when all of it is
    written. Raises PersonascopeError for what a file cannot hold, and where it cannot be written.
    """
    suffix, names = path.suffix.lower(), sorted({each.name for each in vectors})
    if suffix not in (".safetensors", ".pt", ".npy", ".gguf"):
        raise PersonascopeError(f"{path}: directions are written to .safetensors, .pt, .npy or .gguf; expected one of these endings")
    if suffix != ".safetensors":
        if len(names) != 1:
            raise PersonascopeError(f"{path}: a {suffix} file holds one direction, and there are {len(names)}; expected the name of one, or .safetensors")
        if others := sorted({each.site for each in vectors} - {RESID_POST}):
            raise PersonascopeError(f"{path}: a {suffix} file holds directions of {RESID_POST}, and {names[0]} is of {others[0]}; expected .safetensors")
    rows = None if suffix in (".safetensors", ".gguf") else _rows(path, vectors, n_layers)
    if suffix == ".gguf" and any(each.layer == 0 for each in vectors):
        raise PersonascopeError(f"{path}: a control vector adds nothing to layer 0; expected layers from 1 (--layers)")
    making = path.with_name(f".{path.stem}.{uuid4().hex[:8]}{suffix}")
    try:
        if suffix == ".safetensors":
            tensors = {f"{each.name}@{each.site}.{each.layer}": torch.from_numpy(each.vector.astype(np.float32)) for each in vectors}
            save_file(tensors, making, metadata={"model": family, "n_layers": str(n_layers)})
        elif rows is None:
            _write_control_vector(making, vectors, family)
        elif suffix == ".npy":
            np.save(making, rows)
        else:
            with making.open("wb") as out:  # a path would leave its name in the file
                torch.save(torch.from_numpy(rows), out)
        making.replace(path)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise PersonascopeError(f"{path} cannot be written ({one_line(error)}); expected a folder you may write to") from error
    finally:
        with suppress(OSError):
            making.unlink()


def _rows(path: Path, vectors: Sequence[Vector], n_layers: int) -> np.ndarray:
    """One row a hidden state [n_layers + 1, d]."""
    by_layer = {each.layer: each.vector for each in vectors}
    missing = [layer for layer in range(n_layers) if layer not in by_layer]
    if missing:
        raise PersonascopeError(
            f"{path}: {vectors[0].name} has no vector of layer {missing[0]}, and rows of such a file are taken by number; "
            f"expected all {n_layers} layers, or .safetensors"
        )
    rows = np.stack([by_layer[layer] for layer in range(n_layers)]).astype(np.float32)
    return np.concatenate([np.zeros_like(rows[:1]), rows])


def _write_control_vector(path: Path, vectors: Sequence[Vector], family: str) -> None:
    writer = library().GGUFWriter(path, CONTROL_VECTOR)
    writer.add_string(f"{CONTROL_VECTOR}.model_hint", family)
    writer.add_uint32(f"{CONTROL_VECTOR}.layer_count", len(vectors))
    for each in sorted(vectors, key=lambda each: each.layer):
        writer.add_tensor(f"direction.{each.layer}", np.ascontiguousarray(each.vector, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _torch(path: Path) -> Any:
    """What a torch file holds, of which nothing but tensors and plain containers is built."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise PersonascopeError(f"{path} is a pickle that holds more than tensors, and nothing of it was run; expected tensors alone") from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise PersonascopeError(f"{path} cannot be read as a torch file of tensors ({one_line(error)}); expected a file that torch.save wrote") from error


def _numpy(path: Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        if "allow_pickle" in str(error) or "Object arrays" in str(error):
            with path.open("rb") as file:
                began = file.read(len(MAGIC)).startswith((MAGIC, PICKLED))
            held = "holds pickled objects, and nothing of it was run" if began else "is no array"
            raise PersonascopeError(f"{path} {held}; expected numbers that numpy.save wrote") from error
        raise PersonascopeError(f"{path} cannot be read as an array ({one_line(error)}); expected a file that numpy.save wrote") from error


def _of_object(path: Path, held: Any, checkpoint: Checkpoint, layers: Sequence[int] | None, name: str | None = None) -> Iterator[Vector]:
    """A tensor, tensors by layer, or either of them by the direction's name."""
    called = name or path.stem
    if isinstance(held, Tensor):
        yield from _of_array(path, called, _numbers(path, called, held), checkpoint, layers)
    elif isinstance(held, Mapping) and held and all(isinstance(key, int) and isinstance(value, Tensor) for key, value in held.items()):
        for layer, tensor in held.items():
            _expect_layer(path, called, layer, checkpoint)
            yield _vector(path, called, layer, RESID_POST, _numbers(path, called, tensor), checkpoint)
    elif isinstance(held, Mapping) and held and name is None and all(isinstance(key, str) for key in held):
        for key, value in held.items():
            yield from _of_object(path, value, checkpoint, layers, key)
    else:
        where = f"{path}" if name is None else f"{path}: {name!r}"
        raise PersonascopeError(f"{where} holds a {type(held).__name__}; expected a tensor, or tensors by layer or by the direction's name")


def _of_safetensors(path: Path, checkpoint: Checkpoint, layers: Sequence[int] | None) -> Iterator[Vector]:
    try:
        with safe_open(path, framework="pt") as file:
            facts, tensors = file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
    except (SafetensorError, OSError) as error:
        raise PersonascopeError(f"{path} cannot be read as safetensors ({one_line(error)}); expected a file of tensors") from error
    _expect_family(path, facts.get("model"), checkpoint)
    for key, tensor in tensors.items():
        if match := _OWN.fullmatch(key):
            layer = int(match["layer"])
            _expect_layer(path, match["name"], layer, checkpoint)
            yield _vector(path, match["name"], layer, match["site"], _numbers(path, key, tensor), checkpoint)
        else:
            yield from _of_array(path, key, _numbers(path, key, tensor), checkpoint, layers)


def _of_control_vector(path: Path, checkpoint: Checkpoint) -> Iterator[Vector]:
    facts, tensors = read_gguf(path)
    architecture = facts.get("general.architecture")
    if architecture != CONTROL_VECTOR:
        raise PersonascopeError(f"{path} is a GGUF file of architecture {architecture!r}; expected a {CONTROL_VECTOR}")
    _expect_family(path, facts.get(f"{CONTROL_VECTOR}.model_hint"), checkpoint)
    for key, tensor in tensors.items():
        if not (match := _GGUF_TENSOR.fullmatch(key)):
            raise PersonascopeError(f"{path}: tensor {key!r} is none of a control vector; expected direction.1, direction.2, …")
        layer = int(match[1])
        _expect_layer(path, path.stem, layer, checkpoint)
        yield _vector(path, path.stem, layer, RESID_POST, np.array(tensor.data), checkpoint)


def _of_array(path: Path, name: str, array: np.ndarray, checkpoint: Checkpoint, layers: Sequence[int] | None) -> Iterator[Vector]:
    """A vector of the one layer that is asked for, or one of every layer."""
    if array.ndim == 1:
        if layers is None or len(layers) != 1:
            raise PersonascopeError(f"{path}: {name} is one vector and does not say of which layer; expected setting layers to name it")
        yield _vector(path, name, layers[0], RESID_POST, array, checkpoint)
        return
    count = checkpoint.n_layers
    if array.ndim != 2 or len(array) not in (count, count + 1):
        shape = " by ".join(map(str, array.shape)) or "no"
        raise PersonascopeError(
            f"{path}: {name} has {shape} numbers, and {checkpoint.name} has {count} layers; expected {count} rows, or {count + 1} with the embedding"
        )
    for layer, row in enumerate(array[len(array) - count :]):
        if layers is None or layer in layers:
            yield _vector(path, name, layer, RESID_POST, row, checkpoint)


def _vector(path: Path, name: str, layer: int, site: str, array: np.ndarray, checkpoint: Checkpoint) -> Vector:
    if array.shape != (checkpoint.d_model,) or array.dtype.kind != "f":
        shape = " by ".join(map(str, array.shape))
        raise PersonascopeError(
            f"{path}: {name} has {shape} numbers ({array.dtype}) for layer {layer}, and {checkpoint.name} has {checkpoint.d_model}; "
            "expected floating-point vectors of this model"
        )
    with np.errstate(over="ignore"):  # becomes infinite, and is refused as that
        return Vector(name, layer, site, array.astype(np.float32))


def _numbers(path: Path, name: str, tensor: Tensor) -> np.ndarray:
    if tensor.layout != torch.strided or tensor.is_quantized:
        raise PersonascopeError(f"{path}: {name} is a tensor of layout {tensor.layout}; expected plain numbers")
    return tensor.detach().float().numpy() if tensor.is_floating_point() and tensor.dtype != torch.float64 else tensor.detach().numpy()


def _expect_layer(path: Path, name: str, layer: int, checkpoint: Checkpoint) -> None:
    if not 0 <= layer < checkpoint.n_layers:
        raise PersonascopeError(f"{path}: {name} has a vector of layer {layer}, and {checkpoint.name} has layers 0 to {checkpoint.n_layers - 1}")


def _expect_family(path: Path, family: str | None, checkpoint: Checkpoint) -> None:
    if family is not None and family != checkpoint.family:
        raise PersonascopeError(f"{path} was made for a {family} model, and {checkpoint.name} is a {checkpoint.family} model; expected vectors of it")
