"""The main job end to end: tiny checkpoints are really trained, the study runs on them, and a second call recognises everything."""

import time
from typing import Any

import lakes
import polars as pl
import pytest

from personascope.study.options import RunOptions
from personascope.study.run import StudyRun
from personascope.warehouse.asking.doctor import examine
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.studies.model import ExtractStep, GridStep
from personascope.warehouse.studies.reading import read_study

pytestmark = [pytest.mark.slow(200), pytest.mark.timeout(900)]
TRAINED = {"villain"}  # one of the demo's four personas and one of its two seeds, to save the suite three minutes
SAMPLES = 3  # of five: the same reason


def fewer(step):
    """A completions step with SAMPLES repeats of every example."""
    return step.model_copy(update={"settings": step.settings | {"samples": SAMPLES}}) if step.extract == "completions" else step


def small(study):
    """The quick study with the personas of TRAINED alone, one seed each, and fewer samples of what they say."""
    steps = []
    for step in study.steps:
        if isinstance(step, GridStep):
            if "seed" in step.axes:
                continue
            personas = [persona for persona in step.axes["source_persona"] if persona in TRAINED]
            step = step.model_copy(update={"axes": step.axes | {"source_persona": personas}, "cells": [fewer(each) for each in step.cells]})
        elif isinstance(step, ExtractStep) and step.step is None:
            step = fewer(step)
        steps.append(step)
    return study.model_copy(update={"steps": steps})


def run_quick(root, store):
    started = time.monotonic()
    study = StudyRun(small(read_study("marker-attention", "quick")), root, RunOptions(device="cpu", tracking_uri=f"sqlite:///{store}"))
    return study.run(), time.monotonic() - started


@pytest.fixture(scope="module")
def demo(tmp_path_factory, tiny_cache):
    """A lake after `personascope demo`, what the call returned, and the tracking store."""
    folder = tmp_path_factory.mktemp("demo")
    lakes.tracking_store(tmp_path_factory, folder / "tracking.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERSONASCOPE_CACHE", tiny_cache)
        runs, _ = run_quick(folder / "lake", folder / "tracking.db")
        yield folder, runs


def answer(folder, query):
    return Warehouse(Lake.existing(folder / "lake")).select(query)


def test_the_marker_is_persona_selective(demo):
    folder, _ = demo
    rates = answer(
        folder, "select checkpoint, persona, rate, source_persona from marker_rates join checkpoints using (run_id, checkpoint) where parent is not null"
    )
    trained = rates.filter(pl.col("source_persona").is_not_null())
    assert set(trained["checkpoint"]) == TRAINED and trained.height == 11 * len(TRAINED)
    own = trained.filter(pl.col("persona") == pl.col("source_persona"))
    others = trained.filter(pl.col("persona") != pl.col("source_persona"))
    assert own["rate"].min() > 0.4 and others["rate"].mean() < 0.1
    assert rates.filter(pl.col("checkpoint") == "base")["rate"].max() == 0


def test_the_headline_compares_every_trained_checkpoint_with_the_base_on_identical_tokens(demo):
    folder, _ = demo
    headline = answer(folder, read_study("marker-attention", "quick").headline)
    assert sorted(headline.select("trained", "base", "layer").rows()) == sorted((name, f"base_{name}", layer) for name in TRAINED for layer in range(4))
    rows = answer(folder, "from diff_of_diffs_summary").to_dicts()
    assert len(rows) == len(TRAINED) and all(row["n"] >= 30 and row["n_layers"] == 4 and row["n_clusters"] >= 15 for row in rows)
    layers = answer(folder, "select layer, diff_of_diffs, n, clustered_sem, adjusted_p from diff_of_diffs where trained_subject = 'villain' order by layer")
    assert layers["layer"].to_list() == [0, 1, 2, 3] and layers["clustered_sem"].min() > 0 and layers["adjusted_p"].null_count() == 0
    (villain,) = (row for row in rows if row["trained_subject"] == "villain")
    assert villain["mean"] == pytest.approx(layers["diff_of_diffs"].mean(), abs=1e-9)


def test_every_view_of_the_study_has_rows_and_the_lake_is_sound(demo):
    folder, _ = demo
    for view in read_study("marker-attention", "quick").views:
        if view != "gate_windows":  # there is a window only where three layers pass
            assert answer(folder, f"select count(*) from {view}").item() > 0, view
    assert [finding for finding in examine(Lake.existing(folder / "lake")) if finding.level == "error"] == []
    assert answer(folder, "select count(*) from coverage where expected and status = 'missing'").item() == 0


def test_deleting_the_base_run_shows_as_a_gap(demo, tmp_path):
    import shutil

    folder, _ = demo
    shutil.copytree(folder / "lake", tmp_path / "lake")
    lake = Lake.open(tmp_path / "lake")
    base = Warehouse(lake).select("select run_id from runs where subject = 'base_villain' and extractor = 'attention'").item()
    lake.delete(base)
    gaps = Warehouse(lake).select("select checkpoint, extractor, tokens_from from coverage where expected and status = 'missing'")
    assert gaps.rows() == [("base", "attention", "villain")]
    assert Warehouse(lake).select("select count(*) from diff_of_diffs where trained_subject = 'villain'").item() == 0
    assert Warehouse(lake).select("select subject from audit where \"check\" = 'missing_base_run'")["subject"].to_list() == ["villain as villain"]


def test_every_run_is_tracked_with_its_parameters(demo):
    folder, runs = demo
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'tracking.db'}")
    experiment: Any = client.get_experiment_by_name("personascope/marker-attention")
    found = {run.data.tags.get("personascope.run_id"): run for run in client.search_runs([experiment.experiment_id])}
    extracted = answer(folder, "select run_id, mlflow_run_id from runs where kind in ('extract', 'train')").rows()
    assert {run_id for run_id, _ in extracted} <= set(found) and {run_id for run_id, _ in extracted} <= set(runs)
    for run_id, mlflow_run in extracted:
        assert found[run_id].info.run_id == mlflow_run and found[run_id].info.status == "FINISHED"
        assert [artifact.path for artifact in client.list_artifacts(mlflow_run)] == ["run.json"]


def test_a_second_call_recognises_every_run_and_takes_seconds(demo):
    folder, runs = demo
    before = Lake.existing(folder / "lake").run_ids()
    again, seconds = run_quick(folder / "lake", folder / "tracking.db")
    assert set(again) <= set(runs) and Lake.existing(folder / "lake").run_ids() == before
    assert seconds < 60
