"""Files that tests of the published loaders write."""

import json
from pathlib import Path


def write(path: Path, value: object) -> Path:
    """A text as it is, anything else as JSON; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path
