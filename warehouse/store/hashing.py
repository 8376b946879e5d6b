"""Stable identities and seeds (blake2), the same in every process and on every machine."""

import hashlib
import json
from pathlib import Path
from typing import Any, BinaryIO

BLOCK = 1 << 20


def stable_hash(value: Any, size: int = 8) -> str:
    """Hex digest of `2 * size` characters of any JSON-like value (key order does not matter; paths and tuples are allowed)."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.blake2b(canonical.encode(), digest_size=size).hexdigest()


def stable_seed(*parts: Any) -> int:
    """A 63-bit seed decided by `parts` alone; `hash()` would differ in every process."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def digest() -> Any:
    """A blake2b of 32 hexadecimal characters to feed: the hash that manifests hold of files."""
    return hashlib.blake2b(digest_size=16)


def file_hash(path: Path) -> str:
    """Hex blake2b digest (32 characters) of a file's bytes, read in blocks."""
    with open(path, "rb") as handle:
        return stream_hash(handle)[1]


def stream_hash(source: BinaryIO) -> tuple[int, str]:
    """Number of bytes from here to the end, and their hash."""
    n_bytes, found = 0, digest()
    while block := source.read(BLOCK):
        n_bytes += len(block)
        found.update(block)
    return n_bytes, found.hexdigest()


def folder_hash(folder: Path, patterns: tuple[str, ...]) -> str:
    """Digest of the files in `folder` (not below it) that match any of `patterns`, by name and content."""
    files = sorted({file for pattern in patterns for file in folder.glob(pattern) if file.is_file()})
    return stable_hash([[file.name, file_hash(file)] for file in files])
