"""Reads a JSON file of a checkpoint."""

import json
from pathlib import Path
from typing import Any

from personascope.warehouse.errors import PersonascopeError, one_line
from personascope.warehouse.pointers import refuse_pointer


def read_object(path: Path) -> dict[str, Any]:
    """The object a JSON file holds; raises PersonascopeError where it cannot be read or holds something else."""
    refuse_pointer(path)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PersonascopeError(f"{path} cannot be read as JSON ({one_line(error)}).") from error
    if not isinstance(data, dict):
        raise PersonascopeError(f"{path} holds a JSON {type(data).__name__}, expected an object.")
    return data
