"""Where the package's own files lie, the same tree of folders in a checkout and in an installation, and where it keeps what can be made again."""

import os
from pathlib import Path

HOME = Path(__file__).resolve().parents[1]
SQL_FOLDER = HOME / "sql"
STUDIES_FOLDER = HOME / "mlflow" / "studies"


def cache_root() -> Path:
    """`$PERSONASCOPE_CACHE`, else `personascope` in `$XDG_CACHE_HOME` or `~/.cache`."""
    if typed := os.environ.get("PERSONASCOPE_CACHE"):
        return Path(typed).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "personascope"
