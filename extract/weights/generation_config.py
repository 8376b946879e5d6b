"""What generation_config.json of a checkpoint says beyond the ends of a turn: none of it is used, and what is left out is said once."""

import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

from personascope.ingest.weights.json_file import read_object

FILE = "generation_config.json"
TAKEN = ("eos_token_id", "pad_token_id")
_SILENT = ("bos_token_id", "transformers_version", "_from_model_config", "use_cache")  # say nothing of how tokens are drawn


def ignored_settings(folder: Path) -> dict[str, Any]:
    """The settings of the file in `folder` that decide how tokens are drawn or when sampling stops, besides end and padding tokens; none without a file."""
    path = folder / FILE
    known = read_object(path) if path.is_file() else {}
    return {name: value for name, value in sorted(known.items()) if name not in (*TAKEN, *_SILENT) and value is not None and value is not False}


@lru_cache(maxsize=256)
def say_ignored(folder: Path, name: str) -> None:
    """One line on stderr, once in a process for each checkpoint, where the file holds such settings."""
    found = ignored_settings(folder)
    if found:
        listed = ", ".join(f"{setting} {_short(value)}" for setting, value in found.items())
        print(f"{name}: samples take only end and padding tokens from {FILE}; ignored: {listed}", file=sys.stderr, flush=True)


def _short(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 40 else text[:39] + "…"
