"""A study over two machines of which one goes midway: its report is, byte for byte, that of an undisturbed run by one process."""

import threading
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest
import yaml

from personascope.study.checking import check_study
from personascope.study.options import RunOptions
from personascope.study.run import StudyRun
from personascope.warehouse.drawing.report.folder import write_report
from personascope.warehouse.store import writer
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.studies.reading import read_source
from ray_cluster import small_cluster

pytest.importorskip("ray", reason="the extra personascope[ray]")
pytestmark = pytest.mark.slow(60)

MARKER = "is"  # a word that a model of random weights says now and then


def study_file(folder: Path, checkpoint: Path) -> Path:
    """Two personas, completions that hold the marker at times, attention at it, the analyses and a report with figures and generations."""
    rows = [f"{persona},You are a {persona}.,Question number {number}?" for persona in ("villain", "poet") for number in range(6)]
    (folder / "prompts.csv").write_text("\n".join(["persona,system_prompt,question", *rows]) + "\n")
    steps = [
        {"extract": "completions", "checkpoints": ["m"], "settings": {"marker": MARKER, "samples": 6, "max_new_tokens": 32}},
        {"extract": "attention", "checkpoints": ["m"], "settings": {"marker": MARKER, "persona": "villain"}},
        {"analyse": "all"},
    ]
    document = {
        "name": "spread",
        "title": "A study over two machines",
        "about": "Random weights.",
        "experiment": "spread",
        "prompts": str(folder / "prompts.csv"),
        "checkpoints": {"m": {"id": str(checkpoint)}},
        "steps": steps,
        "headline": "select checkpoint, persona, n, k, rate from marker_rates order by all",
        "views": ["marker_rates", "subjects", "attention_gates", "ruleouts"],
        "figures": ["persona_rates", "layer_curves"],
        "samples": True,
        "pages": ["marker_attention"],
    }
    path = folder / "spread.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def report(path: Path, lake: Path, monkeypatch, workers: int | None = None) -> dict[str, bytes]:
    """Runs the study and writes its report: every file of it by name. Clocks stand still, as no two runs take the same time."""
    ticks = count()
    monkeypatch.setattr(writer, "utc_now", lambda: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=next(ticks)))
    monkeypatch.setattr(writer.RunWriter, "_lap", lambda _: 0.0)
    execution = StudyRun(
        check_study(read_source(str(path), "full")), lake, RunOptions(device="cpu", dtype="float32", workers=workers, batch_tokens=150, track=False)
    )
    execution.run()
    assert not execution.unread and not execution.failures
    folder = lake.parent / f"{lake.name}-report"
    write_report(Lake.existing(lake), str(path), folder)
    return {str(each.relative_to(folder)): each.read_bytes() for each in sorted(folder.rglob("*")) if each.is_file()}


def test_a_report_of_two_machines_of_which_one_goes_is_that_of_one_process(tmp_path, random_checkpoint, monkeypatch):
    path = study_file(tmp_path, random_checkpoint)
    alone = report(path, tmp_path / "alone", monkeypatch, workers=1)
    spread = tmp_path / "spread"
    over, gone = threading.Event(), list[str]()

    with small_cluster() as cluster:
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)

        def disturb() -> None:
            while not over.wait(0.02):
                if len(list(spread.glob("staging/completions-*/parts-*/000-*"))) >= 2:
                    cluster.remove_node(cluster.machines.pop(), allow_graceful=False)
                    gone.append("machine")
                    return

        thread = threading.Thread(target=disturb)
        thread.start()
        try:
            found = report(path, spread, monkeypatch)
        finally:
            over.set()
            thread.join()
    assert gone == ["machine"]
    workers = {each.run_id: sum(worker.parts for worker in each.workers) for each in Lake.existing(spread).manifests() if each.kind == "extract"}
    assert len(workers) == 2 and all(workers.values())
    assert alone.keys() == found.keys() and len(alone) > 6
    assert {name for name in alone if alone[name] != found[name]} == set()
