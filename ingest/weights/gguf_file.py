"""Opens a GGUF file and says what it is; whatever is no whole language model in one little-endian file is refused in a sentence."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personascope.warehouse.errors import PersonascopeError, one_line
from personascope.warehouse.pointers import refuse_pointer

SUFFIX = ".gguf"
_PART = re.compile(r"-\d{5}-of-\d{5}\.gguf$", re.IGNORECASE)
_VERSIONS = (2, 3)
_BULKY = ("tokenizer.ggml.tokens", "tokenizer.ggml.scores", "tokenizer.ggml.token_type", "tokenizer.ggml.merges")


@dataclass(frozen=True)
class GgufFile:
    """A GGUF file that holds a language model: its settings by key (without the vocabulary) and its tensors by name, as the package gguf reads them.

    A tensor has `data` (numpy, mapped from the file, rows first) and `tensor_type`.
    """

    path: Path
    architecture: str
    settings: dict[str, Any]
    tensors: dict[str, Any]
    quantisation: str  # the file's own word and how many tensors have which type: `Q4_K_M (Q5_0 133, F32 121, …)`

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor in numbers, rows first."""
        return tuple(int(size) for size in reversed(self.tensors[name].shape))


def is_gguf(ref: str) -> bool:
    """Whether a reference to a checkpoint is the name of a GGUF file."""
    return ref.lower().endswith(SUFFIX)


def library() -> Any:
    """The package gguf; raises PersonascopeError naming the extra that brings it."""
    try:
        import gguf
    except ImportError as error:
        raise PersonascopeError(f"a GGUF file is read by the package gguf ({one_line(error)}): pip install 'personascope[gguf]'") from error
    return gguf


def open_gguf(path: Path) -> GgufFile:
    """The file at `path`; raises PersonascopeError for one that is split, cut off, big-endian, of a foreign version, or holds no language model."""
    settings, tensors = read_gguf(path)
    architecture = settings.get("general.architecture")
    if not isinstance(architecture, str):
        raise PersonascopeError(f"{path} names no general.architecture: expected a GGUF file of a language model.")
    _refuse_what_is_no_model(path, architecture, settings, tensors)
    return GgufFile(path, architecture, settings, tensors, _quantisation(library(), settings, tensors))


def read_gguf(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings without the vocabulary and tensors by name of any GGUF file; raises PersonascopeError for one that is split, cut off, big-endian or foreign."""
    _check_beginning(path)
    gguf = library()
    try:
        reader = gguf.GGUFReader(path)
        settings = {name: field.contents() for name, field in reader.fields.items() if name not in _BULKY}
        return settings, {tensor.name: tensor for tensor in reader.tensors}
    except (ValueError, IndexError, KeyError, TypeError, UnicodeDecodeError, OverflowError, MemoryError) as error:  # damage surfaces as any of these
        raise PersonascopeError(f"{path} is cut off or damaged ({one_line(error)}): fetch it again.") from error


def _check_beginning(path: Path) -> None:
    """What the name and the first eight bytes tell."""
    refuse_pointer(path)
    if _PART.search(path.name):
        raise PersonascopeError(f"{path} is one part of a split GGUF file: join the parts with `llama-gguf-split --merge FIRST_PART WHOLE.gguf`.")
    try:
        with path.open("rb") as file:
            magic, version = file.read(4), file.read(4)
    except OSError as error:
        raise PersonascopeError(f"{path} cannot be read ({error.strerror}): expected a GGUF file.") from error
    if magic != b"GGUF" or len(version) < 4:
        raise PersonascopeError(f"{path} does not begin as a GGUF file (found {magic!r}): fetch it again.")
    number = int.from_bytes(version, "little")
    if number not in _VERSIONS:
        if int.from_bytes(version, "big") in _VERSIONS:
            raise PersonascopeError(f"{path} is a big-endian GGUF file: expected a little-endian one (`gguf-convert-endian` of the package gguf makes it).")
        raise PersonascopeError(f"{path} has GGUF version {number}: expected version {' or '.join(map(str, _VERSIONS))}.")


def _refuse_what_is_no_model(path: Path, architecture: str, settings: dict[str, Any], tensors: dict[str, Any]) -> None:
    kind = settings.get("general.type", "model")
    if kind == "mmproj" or architecture == "clip":
        raise PersonascopeError(f"{path} holds the image encoder of a model (mmproj): expected the file of the language model itself.")
    if kind != "model":
        raise PersonascopeError(f"{path} holds a GGUF {kind}, not a model: expected the file of a whole language model.")
    if int(settings.get("split.count", 1) or 1) > 1:
        raise PersonascopeError(f"{path} is one of {settings['split.count']} parts of a split GGUF file: join them with `llama-gguf-split --merge`.")
    if not tensors:
        raise PersonascopeError(f"{path} holds a vocabulary without weights: expected the file of a whole language model.")


def _quantisation(gguf: Any, settings: dict[str, Any], tensors: dict[str, Any]) -> str:
    counts = Counter(tensor.tensor_type.name for tensor in tensors.values())
    listed = ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda each: (-each[1], each[0])))
    try:
        word = gguf.LlamaFileType(settings["general.file_type"]).name.removeprefix("MOSTLY_").removeprefix("ALL_")
    except (KeyError, ValueError):  # not said, or a type that this package does not know yet
        return listed
    return f"{word} ({listed})"
