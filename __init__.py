"""personascope: an analysis warehouse for people who study how language models represent personas and roles.

`from personascope import open_lake` is the door for notebooks; nothing else is loaded before it is asked for.
"""

import logging
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from personascope.warehouse.notebook import open_lake

__all__ = ["__version__", "open_lake"]

try:
    __version__ = version("personascope")
except PackageNotFoundError:  # the folder is on the path and nothing is installed
    __version__ = "unknown"

# Transformers' trainings import it wherever it is installed, and on some processors it warns of a kernel that it can do without.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)


def __getattr__(name: str) -> Any:
    """The notebook door, imported when it is first used, so that `import personascope` stays light."""
    if name == "open_lake":
        from personascope.warehouse.notebook import open_lake

        return open_lake
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
