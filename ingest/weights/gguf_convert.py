"""Turns a GGUF file into a folder that transformers loads, once, in the user's cache: weights in float32, configuration and tokenizer, all checked."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from personascope.ingest.weights.cache import build_once, built
from personascope.ingest.weights.content import file_sha256
from personascope.ingest.weights.gguf_families import Family, configuration, family_of, restoring, tensor_names
from personascope.ingest.weights.gguf_file import GgufFile, library, open_gguf
from personascope.ingest.weights.gguf_tokenizer import write_tokenizer
from personascope.ingest.weights.json_file import read_object
from personascope.ingest.weights.safetensors_stream import Stream, write_model
from personascope.warehouse.errors import PersonascopeError

CONVERSION = 1  # raise it when a file's weights, configuration or tokenizer come out otherwise
RECORD = "gguf.json"
_BLOCK_NUMBERS = 1 << 24


def converted(path: Path) -> Path:
    """The folder made of the GGUF file at `path`, made at first use. Memory is bounded by a block of rows and the largest attention matrix.

    Raises PersonascopeError for a file that cannot be brought in, naming why; nothing is left of it then.
    """
    return build_once(_key(path), str(path), lambda folder: _convert(path, folder))


def already_converted(path: Path) -> Path | None:
    """The folder of `converted`; None where it has not been made."""
    return built(_key(path))


def quantisation(folder: Path) -> str | None:
    """How the weights in `folder` were quantised before they became float32; None for a folder that comes from no GGUF file."""
    record = folder / RECORD
    return read_object(record)["quantisation"] if record.is_file() else None


def _key(path: Path) -> str:
    return f"gguf-{file_sha256(path)[:32]}-{CONVERSION}"


def _convert(path: Path, folder: Path) -> None:
    file = open_gguf(path)
    family = family_of(file)
    config = configuration(file)
    names = tensor_names(file, config)
    config.architectures, config.dtype = [_class_name(config)], "float32"
    config.save_pretrained(folder)
    write_tokenizer(file, folder, config.vocab_size)
    _write_generation_config(file, config, folder)
    write_model(folder, {there: Stream(shape, partial(_numbers, file, family, config, name)) for name, (there, shape) in names.items()})
    _check_written(folder, dict(names.values()))
    (folder / RECORD).write_text(json.dumps({"quantisation": file.quantisation, "file": path.name, "conversion": CONVERSION}, indent=1), encoding="utf-8")


def _numbers(file: GgufFile, family: Family, config: Any, name: str) -> Iterator[np.ndarray]:
    """The numbers of a tensor as transformers has them, in blocks of rows, float32."""
    tensor, change = file.tensors[name], restoring(family, config, name)
    rows, *rest = file.shape(name)
    at_once = rows if change or not rest else max(1, _BLOCK_NUMBERS // int(np.prod(rest)))
    for first in range(0, rows, at_once):
        try:
            values = library().dequantize(tensor.data[first : first + at_once], tensor.tensor_type).astype(np.float32, copy=False)
        except NotImplementedError as error:
            raise PersonascopeError(f"{file.path}: {name} is quantised as {tensor.tensor_type.name}, which the package gguf cannot dequantise.") from error
        if not np.isfinite(values).all():
            raise PersonascopeError(f"{file.path}: {name} holds numbers that are not finite: it is damaged.")
        yield change(values) if change else values


def _write_generation_config(file: GgufFile, config: Any, folder: Path) -> None:
    """The tokens that end an answer: end of text and, where the file names it, end of turn."""
    ends = {int(file.settings[key]) for key in ("tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id") if key in file.settings}
    told = {"bos_token_id": config.bos_token_id, "eos_token_id": sorted(ends), "pad_token_id": config.pad_token_id}
    (folder / "generation_config.json").write_text(json.dumps({name: value for name, value in told.items() if value not in (None, [])}), encoding="utf-8")


def _class_name(config: Any) -> str:
    from transformers import AutoModelForCausalLM

    kind: Any = AutoModelForCausalLM._model_mapping[type(config)]
    return str(kind.__name__)


def _check_written(folder: Path, expected: dict[str, tuple[int, ...]]) -> None:
    """The files as safetensors reads them, before anybody else does."""
    found: dict[str, tuple[int, ...]] = {}
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="numpy") as file:
            found |= {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping
    if found != expected:
        raise PersonascopeError(f"{folder} was written with {len(found)} tensors of other names or shapes than the {len(expected)} of the model.")
