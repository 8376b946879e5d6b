"""The script for GPU machines runs on torch, transformers and peft alone, and says which part it skips and why."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "gpu" / "check.py"
ALONE = """
import runpy, sys
class Without:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        missing = name.split(".")[0] in ("duckdb", "polars", "pydantic", "pyarrow", "rich", "typer", "mlflow", "streamlit", "altair")
        return None if missing else self.finder.find_spec(name, path, target)
sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.slow(15)
def test_the_parts_run_without_the_packages_of_the_warehouse(tmp_path):
    parts = ["readout", "sampling", "ablations", "steering", "lora"]
    options = ["--device", "cpu", "--shape", "tiny", "--lengths", "48", "--rounds", "1", "--output", str(tmp_path / "found.json"), "--parts", *parts]
    done = subprocess.run([sys.executable, "-c", ALONE, str(SCRIPT), *options], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    found = {name: part["figures"] for name, part in json.loads((tmp_path / "found.json").read_text())["parts"].items()}
    assert list(found) == parts and all("packages are missing" in found[part]["skipped"] for part in ("ablations", "steering"))
    assert found["readout"][0]["read_s"] > 0 and found["readout"][0]["floor_s"] > 0 and found["sampling"]["decode_step_s"] > 0
    assert "readout: length 48, bare_s " in done.stdout and 0 < found["lora"]["ratio"] < 10


@pytest.mark.slow(15)
def test_answers_in_branches_are_compared_with_whole_passes(tmp_path):
    options = ["--device", "cpu", "--shape", "tiny", "--rounds", "1", "--output", str(tmp_path / "found.json"), "--parts", "steering"]
    done = subprocess.run([sys.executable, str(SCRIPT), *options], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads((tmp_path / "found.json").read_text())["parts"]["steering"]["figures"]
    assert figures["largest_relative_difference"] < 1e-4 and figures["speedup"] > 1
