"""personascope: an analysis warehouse for people who study how language models represent personas and roles."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("personascope")
except PackageNotFoundError:  # the folder is on the path and nothing is installed
    __version__ = "unknown"
