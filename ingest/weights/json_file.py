"""Reads a JSON file of a checkpoint or of an autoencoder."""

from pathlib import Path
from typing import Any

from personascope.warehouse.documents import parse_json
from personascope.warehouse.errors import PersonascopeError, one_line
from personascope.warehouse.pointers import refuse_pointer


def read_object(path: Path) -> dict[str, Any]:
    """The object a JSON file holds; raises PersonascopeError where it cannot be read or holds something else."""
    refuse_pointer(path)
    try:
        data = parse_json(path.read_bytes(), constant=float)  # configurations of some architectures hold Infinity
    except (OSError, PersonascopeError) as error:
        raise PersonascopeError(f"{path} cannot be read as JSON ({one_line(error)}).") from error
    if not isinstance(data, dict):
        raise PersonascopeError(f"{path} holds a JSON {type(data).__name__}, expected an object.")
    return data
