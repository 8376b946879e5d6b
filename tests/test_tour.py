"""The notebook tour: it runs over a small lake from the first cell to the last, and git holds it without outputs."""

import json
import os
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from personascope.warehouse.home import HOME

TOUR = HOME / "examples" / "tour.ipynb"
planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).resolve().parent / "sql" / "planted.py")))


def test_git_holds_the_tour_without_outputs():
    cells = [cell for cell in json.loads(TOUR.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert cells and all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)


@pytest.mark.slow(25)
def test_the_tour_runs_over_a_lake(planted_lake, tmp_path, monkeypatch):
    import nbformat
    from jupyter_client.kernelspec import KernelSpecManager
    from nbclient import NotebookClient

    monkeypatch.setenv("PERSONASCOPE_LAKE", str(planted_lake.lake.root))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    kernels = tmp_path / "kernels" / "python3"
    kernels.mkdir(parents=True)
    arguments = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernels / "kernel.json").write_text(json.dumps({"argv": arguments, "display_name": "Python 3", "language": "python"}))
    monkeypatch.setattr(KernelSpecManager, "kernel_dirs", [str(kernels.parent)])  # this interpreter, whatever kernels the user has
    notebook = nbformat.read(TOUR, as_version=4)
    NotebookClient(notebook, timeout=200, resources={"metadata": {"path": str(tmp_path)}}).execute()
    said = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/svg+xml" in output.get("data", {}) for output in said) == 2
    texts = "".join(output.get("text", "") or output.get("data", {}).get("text/plain", "") for output in said)
    assert "12 runs of 0 studies" in texts and "4 charts:" in texts
    assert "subject 'nobody' is in none of the drawings; expected one of base_villain, comedian, still, villain" in texts
