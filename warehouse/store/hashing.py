"""Stable identities and seeds (blake2), the same in every process and on every machine."""

import hashlib
import json
from pathlib import Path
from typing import Any


def stable_hash(value: Any, size: int = 8) -> str:
    """Hex digest of `2 * size` characters of any JSON-like value (key order does not matter; paths and tuples are allowed)."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.blake2b(canonical.encode(), digest_size=size).hexdigest()


def stable_seed(*parts: Any) -> int:
    """A 63-bit seed decided by `parts` alone; `hash()` would differ in every process."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def file_hash(path: Path) -> str:
    """Hex blake2b digest (32 characters) of a file's bytes, read in blocks."""
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def folder_hash(folder: Path, patterns: tuple[str, ...]) -> str:
    """Digest of the files in `folder` (not below it) that match any of `patterns`, by name and content."""
    files = sorted({file for pattern in patterns for file in folder.glob(pattern) if file.is_file()})
    return stable_hash([[file.name, file_hash(file)] for file in files])
