"""The files for SLURM in `examples/slurm/` type commands that there are, with what they are given; SLURM and Ray themselves are played."""

import os
import subprocess
from pathlib import Path

import pytest
from typer.main import get_command

from personascope.cli import app
from personascope.warehouse.home import HOME

PLAYED = {
    "scontrol": 'echo "node1"; echo "node2"',
    "srun": 'while [[ $1 == --* ]]; do shift; done; exec "$@"',
    "ray": "if [[ $1 == get-auth-token ]]; then echo secret; exit; fi\n"
    'echo "ray $*" | sed "s/ -- .*//" >> "$TYPED"; while [[ $1 != -- ]]; do shift; done; shift; exec "$@"',
    "personascope": 'echo "personascope $*" >> "$TYPED"; echo "RAY_ADDRESS=${RAY_ADDRESS:-}${RAY_AUTH_MODE:+ $RAY_AUTH_MODE $RAY_AUTH_TOKEN}" >> "$TYPED"',
}
SLURM = {"SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_NUM_NODES": "2", "SLURM_ARRAY_TASK_ID": "1"}


def typed(folder: Path, file: str, *arguments: str) -> tuple[int, list[str]]:
    """What a file of examples/slurm types when SLURM and Ray are played."""
    (folder / "bin").mkdir()
    for name, script in PLAYED.items():
        (folder / "bin" / name).write_text(f"#!/bin/bash\n{script}\n")
        (folder / "bin" / name).chmod(0o755)
    environment = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "TYPED": str(folder / "typed"), "HOME": str(folder)} | SLURM
    done = subprocess.run(["bash", str(HOME / "examples" / "slurm" / file), *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    return done.returncode, (folder / "typed").read_text().splitlines() if (folder / "typed").exists() else []


def parses(line: str) -> None:
    """Raises where the command line has no such command or option."""
    _, name, *arguments = line.split()
    commands = get_command(app).commands  # type: ignore[attr-defined]
    commands[name].make_context(name, arguments, resilient_parsing=False)


def test_a_study_runs_over_all_machines_of_the_allocation(tmp_path):
    code, lines = typed(tmp_path, "study.sbatch", "marker-attention", "/shared/lake")
    assert code == 0
    assert lines == [
        "ray symmetric-run --address node1:6379 --min-nodes 2",
        "personascope run marker-attention --lake /shared/lake",
        "RAY_ADDRESS=auto token secret",
    ]
    parses(lines[1])


def test_an_array_reads_one_checkpoint_a_job_and_refuses_a_line_that_is_not_there(tmp_path):
    (tmp_path / "list.txt").write_text("a/one\nb/two\n")
    code, lines = typed(tmp_path, "checkpoints.sbatch", "list.txt", "completions-1", "/shared/lake")
    assert code == 0
    assert lines == ["personascope extract attention --checkpoint b/two --tokens-from completions-1 --workers 1 --lake /shared/lake", "RAY_ADDRESS="]
    parses(lines[0])
    (tmp_path / "list.txt").write_text("a/one\n")
    (tmp_path / "second").mkdir()
    assert typed(tmp_path / "second", "checkpoints.sbatch", "../list.txt", "completions-1", "/shared/lake") == (1, [])


@pytest.mark.parametrize("option", ["--workers", "--jobs"])
def test_workers_have_two_names(option):
    for name, needed in (("run", "STUDY"), ("extract", "attention")):
        commands = get_command(app).commands  # type: ignore[attr-defined]
        assert commands[name].make_context(name, [needed, option, "3"]).params["workers"] == 3
