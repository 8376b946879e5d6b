"""The content hash that serves a local checkpoint as its revision, remembered while its files stay untouched."""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from personascope.warehouse.store.hashing import folder_hash, stable_hash

# What decides the output of a checkpoint: weights, configuration, tokenizer, chat template, sampling defaults.
WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json", "adapter_config.json", "*.py")
TOKENIZER = ("tokenizer*", "vocab.*", "merges.txt", "special_tokens_map.json", "added_tokens.json", "chat_template.*", "*.model")
FILES = (*WEIGHTS, *TOKENIZER)


def content_hash(folder: Path) -> str:
    """Digest (16 hex characters) of the deciding files in `folder`, by name and content.

    Hashing 15 GB takes about 20 s, so the digest is kept in the user's cache folder under the names, sizes and times of the files.
    """
    files = sorted({file for pattern in FILES for file in folder.glob(pattern) if file.is_file()})
    return _remembered(folder, files, lambda: folder_hash(folder, FILES))


def file_sha256(path: Path) -> str:
    """Hex sha256 (64 characters) of a file's bytes, as the Hub and `sha256sum` say it, kept like a content hash."""

    def digest() -> str:
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()

    return _remembered(path, [path], digest)


def _remembered(what: Path, files: Sequence[Path], make: Callable[[], str]) -> str:
    """What `make` returns, kept under the path `what` while names, sizes and times of its files stay as they are."""
    stats = [file.stat() for file in files]
    stamp = [[file.name, stat.st_size, stat.st_mtime_ns, stat.st_ino] for file, stat in zip(files, stats, strict=True)]
    place = memory("hashes", str(what.resolve()))
    try:
        known = json.loads(place.read_text())
        if known["stamp"] == stamp:
            return known["digest"]
    except (OSError, ValueError, KeyError, TypeError):
        pass  # nothing remembered yet, or nothing usable
    digest = make()
    # A file written within the last seconds may change again without a new time stamp.
    if stats and time.time() - max(stat.st_mtime for stat in stats) > 2:
        remember(place, {"stamp": stamp, "digest": digest})
    return digest


def memory(kind: str, of: object) -> Path:
    """The file in the user's cache folder for what is remembered of something."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "personascope" / kind / f"{stable_hash(of)}.json"


def remember(path: Path, value: dict[str, object]) -> None:
    """Write by rename, so that two processes never read half a file; without a writable cache nothing is remembered."""
    partial = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(value))
        partial.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink()
