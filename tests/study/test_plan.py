"""`run --plan`: what would be done and whether it can work, with nothing loaded, downloaded or written."""

import re
from io import StringIO

import pytest
from rich.console import Console

from personascope.study.options import RunOptions
from personascope.study.plan import plan_study
from personascope.study.plan_text import in_sum, show_plan
from personascope.study.run import StudyRun
from personascope.study.state import StudyState
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.schema import table
from personascope.warehouse.studies.model import ExtractStep, StudyFile


def study(checkpoint, **changes):
    sampled = {"samples": 2, "max_new_tokens": 4, "personas": ["villain"]}
    return StudyFile.model_validate(
        {
            "name": "planned",
            "title": "planned",
            "about": "planned",
            "prompts": "personas",
            "checkpoints": {"base": {"id": str(checkpoint)}, "far": {"id": "owner/name", "revision": "0" * 40}},
            "steps": [
                {"extract": "completions", "checkpoints": ["base", "far"], "settings": sampled},
                {"extract": "logit_lens", "checkpoints": ["base"], "tokens": ["base"], "settings": {"personas": ["villain"]}},
                {
                    "extract": "activations",
                    "checkpoints": ["base"],
                    "tokens": "none",
                    "settings": {"personas": ["villain"], "layers": [0, 1], "strata": ["last"], "sites": ["resid_post", "mlp_out"]},
                },
                {"extract": "entropy", "checkpoints": ["base"], "prompts": "role-focus", "tokens": "none", "settings": {"form": "raw"}},
                {"extract": "capability", "checkpoints": ["base"], "settings": {"task": "tiny-world"}},
                {"analyse": "all"},
            ],
            "headline": "from runs",
            "views": ["runs"],
        }
        | changes
    )


def plan(checkpoint, lake, **changes):
    return plan_study(StudyState(study(checkpoint, **changes), lake, RunOptions(device="cpu", track=False)))


def states(found):
    return {(run.step, run.reader): run.state for run in found.runs}


@pytest.fixture
def nothing_happens(monkeypatch):
    """Weights, downloads and writing are out of reach."""

    def forbidden(*arguments, **named):
        pytest.fail("a plan loads, downloads or writes nothing")

    monkeypatch.setattr("personascope.extract.weights.on_device.load_model", forbidden)
    monkeypatch.setattr("personascope.ingest.weights.hub.download", forbidden)
    monkeypatch.setattr("personascope.warehouse.store.lake.Lake.start", forbidden)


def test_a_plan_over_no_lake_counts_the_work_and_makes_nothing(nothing_happens, random_checkpoint, tmp_path):
    found = plan(random_checkpoint, tmp_path / "lake")
    assert not (tmp_path / "lake").exists() and found.problems == []
    here, far = found.checkpoints
    assert here.state == "on this machine" and here.shape.n_layers == 3 and here.bytes == (random_checkpoint / "model.safetensors").stat().st_size
    assert "is downloaded from" in far.state and far.bytes is None
    assert states(found) == {
        ("completions", "base"): "to do",
        ("completions", "far"): "to do",
        ("logit_lens", "base"): "after other steps",
        ("activations", "base"): "to do",
        ("entropy", "base"): "to do",
        ("capability", "base"): "to do",
        ("all", "all"): "to do",
    }
    by_step = {(run.step, run.reader): run for run in found.runs}
    sampled, entropy, activations = by_step["completions", "base"], by_step["entropy", "base"], by_step["activations", "base"]
    assert (sampled.texts.n, sampled.rows) == (20, 20 + 40 + 40) and sampled.tokens == 2 * sampled.texts.tokens + 40 * 4
    assert (entropy.texts.n, entropy.rows) == (120, 120 + 120 * 3 * 4)
    assert activations.texts.n == 20 and activations.rows == 20 + 20 * 2 * 2 and activations.bytes > 80 * 32 * 4
    assert by_step["logit_lens", "base"].texts.n == 40, "at most what the completions will be"
    assert by_step["completions", "far"].tokens == sampled.tokens and by_step["completions", "far"].bytes is None
    assert all(run.seconds is None for run in found.runs)
    assert in_sum(found).startswith("7 runs: 6 to do, 1 after other steps; to do: about ")
    origins = {each.name: each.origin for each in sampled.parameters}
    assert origins["samples"] == "study file" and origins["temperature"] == "default"


@pytest.mark.slow(5)
def test_what_the_plan_says_is_what_the_run_does(random_checkpoint, tmp_path, monkeypatch, nothing_happens):
    local = study(random_checkpoint)
    steps = [step.model_copy(update={"checkpoints": ["base"]}) if hasattr(step, "checkpoints") else step for step in local.steps]
    del steps[1]  # the random model writes no marker for the lens to look at
    whole = {"extract": "activations", "step": "of-all-personas", "checkpoints": ["base"], "tokens": "none", "settings": {"layers": [0], "strata": ["last"]}}
    steps.insert(0, ExtractStep.model_validate(whole))  # its set of prompts is the one that later steps take a persona of
    local = local.model_copy(update={"steps": steps})
    state = StudyState(local, tmp_path / "lake", RunOptions(device="cpu", track=False))
    before = plan_study(state)
    monkeypatch.undo()
    StudyRun(local, tmp_path / "lake", state.options).run()
    lake = Lake.existing(tmp_path / "lake")
    promised = {run.run_id for run in before.runs if run.run_id}
    assert len(promised) == 5 and promised <= set(lake.run_ids())
    after = plan_study(StudyState(local, tmp_path / "lake", state.options))
    assert {run.state for run in after.runs if run.work != "analysis"} == {"in the lake"}
    for run in after.runs:
        if run.run_id:
            written = lake.manifest(run.run_id)
            rows = {name: file.rows for name, file in written.tables.items() if not table(name).rollup_of and name != "checkpoints"}
            assert run.rows == sum(rows.values()), (run.step, rows)
            assert run.bytes == sum(written.tables[name].bytes for name in rows)
            assert run.work == "activations" or run.seconds == pytest.approx(written.seconds), "two runs of activations share one rate"
    assert plan_study(StudyState(local, tmp_path / "lake", RunOptions(device="cpu", track=False, force=True))).runs[0].state == "to do"


@pytest.mark.parametrize("given", [False, True])
def test_a_plan_of_steering_counts_the_directions_that_the_study_will_make(random_checkpoint, tmp_path, nothing_happens, given):
    personas = ["villain", "comedian", "librarian", "assistant"]
    sampled = {"samples": 3, "max_new_tokens": 4, "personas": personas}
    steering = {"personas": ["villain", "librarian"], "doses": [1.0, 2.0], "layers": "all", "modes": ["add"], "samples": 1, "max_new_tokens": 8}
    steps = [
        {"extract": "completions", "checkpoints": ["base"], "settings": sampled},
        {"extract": "activations", "checkpoints": ["base"], "settings": {"layers": [1], "strata": ["answer_mean"]}},
        {"extract": "directions", "checkpoints": ["base"], "settings": {"personas": ["villain", "comedian"], "random": 21}},
        {"extract": "steering", "checkpoints": ["base"], "tokens": ["base"] if given else "none", "settings": steering},
    ]
    *_, directed, planned = plan(random_checkpoint, tmp_path / "lake", steps=steps).runs
    assert (directed.state, directed.note) == ("after other steps", "its activations come from earlier steps")
    # a half of 20 questions of two personas, of answers the first of three; one layer; 2 doses of 2 directions and 21 controls, and dose 0; 2 readers
    answers = 20 * (1 + 2 * 23)
    assert planned.rows == answers * 3 + 20 * (not given)
    prompt = planned.texts.tokens / planned.texts.n
    assert planned.tokens == (round(answers * prompt) if given else round(3 * answers * (prompt + 8)))


def test_rows_of_a_prompt_readout_are_known_before_it_runs(random_checkpoint, tmp_path):
    steps = [{"extract": name, "checkpoints": ["base"], "prompts": "echo", "settings": {"form": "raw"}} for name in ("logit_lens", "attributions")]
    local = study(random_checkpoint, checkpoints={"base": {"id": str(random_checkpoint)}}, steps=steps)
    options = RunOptions(device="cpu", track=False)
    before = plan_study(StudyState(local, tmp_path / "lake", options))
    StudyRun(local, tmp_path / "lake", options).run()
    after = plan_study(StudyState(local, tmp_path / "lake", options))
    assert [run.rows for run in before.runs] == [run.rows for run in after.runs]


def test_a_cell_that_is_asked_a_task_reads_its_questions(random_checkpoint, tmp_path, nothing_happens):
    def asked(task):
        return {"extract": "capability", "settings": {"task": task}}

    grid = {
        "grid": "marker-lora",
        "parent": "base",
        "tokens_step": "completions",
        "axes": {"source_persona": ["villain"], "seed": [1]},
        "cells": [asked("tiny-world"), asked(f"owner/data:test:all@{'0' * 40}")],
    }
    sampled = {"extract": "completions", "checkpoints": ["base"], "settings": {"samples": 2, "max_new_tokens": 4}}
    found = plan(random_checkpoint, tmp_path / "lake", steps=[sampled, grid, {**asked("tiny-world"), "checkpoints": ["base"]}])
    here, far, base = found.runs[2:]
    assert (here.reads, here.texts, here.tokens, here.rows) == ("", base.texts, base.tokens, base.rows) and base.texts.n == 40
    assert (far.reads, far.texts, far.rows, far.state) == ("", None, None, "after other steps"), "questions that are not here are not guessed"
    assert far.note == f"the questions of task owner/data:test:all@{'0' * 40} are downloaded first"
    steering = {"personas": ["villain"], "modes": ["add"], "doses": [1.0], "samples": 1, "task": f"owner/data:test:all@{'0' * 40}"}
    steps = [sampled, {"extract": "capability", "checkpoints": ["base", "far"], "settings": {"task": steering["task"]}}]
    steps += [{"extract": "steering", "checkpoints": ["far"], "tokens": "none", "settings": steering}]
    found = plan(random_checkpoint, tmp_path / "lake", steps=steps)
    assert [run.state for run in found.runs[1:]] == ["to do"] * 3 and not found.problems
    assert [run.note for run in found.runs[1:]] == [far.note, far.note, ""]


def test_autoencoders_that_the_study_trains_first_are_waited_for(random_checkpoint, tmp_path, nothing_happens):
    read = {"extract": "features", "checkpoints": ["base"], "prompts": "system-conditions", "settings": {"layers": "all", "directions": []}}
    trained = {"extract": "train-sae", "checkpoints": ["base"], "prompts": "system-conditions"}
    for lake in (tmp_path / "none", Lake.open(tmp_path / "empty").root):
        found = plan(random_checkpoint, lake, steps=[trained, read])
        assert [run.state for run in found.runs] == ["to do", "after other steps"] and "autoencoders" in found.runs[1].note and found.runs[1].rows
        (alone,) = plan(random_checkpoint, lake, steps=[read]).runs
        assert alone.state == "cannot work" and "holds no autoencoder trained on base" in alone.note


def test_what_hangs_on_settings_of_earlier_steps_is_not_told(random_checkpoint, tmp_path, nothing_happens):
    queried = {"heads": "select distinct layer, head from patching_candidates where instruct_checkpoint = $checkpoint"}
    ablations = {"extract": "ablations", "checkpoints": ["base"], "prompts": "echo", "settings_from": queried}
    Lake.open(tmp_path / "lake")
    (run,) = plan(random_checkpoint, tmp_path / "lake", steps=[ablations]).runs
    assert run.state == "after other steps" and "setting heads" in run.note
    assert run.texts.n == 88 and (run.tokens, run.rows, run.bytes) == (None, None, None), "not those of every head"


def test_a_run_that_was_killed_resumes(random_checkpoint, tmp_path):
    lake = Lake.open(tmp_path / "lake")
    run_id = plan(random_checkpoint, lake.root).runs[0].run_id
    (lake.staging_folder / run_id).mkdir()
    assert plan(random_checkpoint, lake.root).runs[0].state == "resumes"


def test_what_cannot_work_is_told_with_its_reason_and_ends_with_an_error(random_checkpoint, tmp_path, personascope):
    steps = [{"extract": "activations", "checkpoints": ["base"], "settings": {"layers": [99]}}]
    found = plan(random_checkpoint, tmp_path / "lake", steps=steps)
    assert len(found.problems) == 1 and "layer 99" in found.problems[0]
    text = f"""
name: wrong
title: wrong
about: wrong
prompts: personas
checkpoints: {{base: {{id: "{random_checkpoint}"}}}}
steps: [{{extract: activations, checkpoints: [base], settings: {{layers: [99]}}}}]
headline: from runs
views: [runs]
"""
    (tmp_path / "wrong.yaml").write_text(text)
    code, out, err = personascope("run", tmp_path / "wrong.yaml", "--plan", "--lake", tmp_path / "lake")
    assert code == 1 and "cannot work" in out and "layer 99" in err
    code, out, _ = personascope("run", tmp_path / "wrong.yaml", "--plan", "--lake", tmp_path / "lake", "--set", "layers=[0]")
    assert code == 0 and "1 to do" in out and not (tmp_path / "lake").exists()


SAMPLED = {"extract": "completions", "checkpoints": ["base"], "settings": {"samples": 1, "max_new_tokens": 4}}
TRAINED = {"train": "marker-lora", "name": "villain", "parent": "base", "source_persona": "villain", "tokens_step": "completions"}
KEPT = TRAINED | {"settings": {"keep_steps": [0]}}
IN_GRID = {
    "grid": "marker-lora",
    "parent": "base",
    "tokens_step": "completions",
    "axes": {"source_persona": ["villain"], "seed": [1]},
    "cells": [{"extract": "logit_lens"}, {"extract": "ablations", "settings": {"heads": [[0, 9]]}}],
}


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ([TRAINED, {"extract": "activations", "checkpoints": ["villain"], "settings": {"layers": [99]}}], "activations: layer 99 is not in checkpoint villain"),
        ([KEPT, {"extract": "activations", "checkpoints": ["villain-step0"], "settings": {"layers": [-4]}}], "layer -4 is not in checkpoint villain-step0"),
        ([TRAINED, {"extract": "patches", "checkpoints": ["villain"], "donor": "base", "settings": {"layers": [-1]}}], "patches: layer -1 is not in"),
        ([TRAINED, {"extract": "steering", "checkpoints": ["villain"], "settings": {"read_layer": 3}}], "steering: layer 3 is not in checkpoint villain"),
        ([TRAINED, {"extract": "ablations", "checkpoints": ["villain"], "settings": {"heads": [[3, 0]]}}], "layer 3, head 0 is not in checkpoint villain"),
        ([IN_GRID], "step ablations: ablations: layer 0, head 9 is not in checkpoint"),
    ],
)
def test_a_layer_that_a_training_will_not_have_is_found_before_it(random_checkpoint, tmp_path, nothing_happens, steps, told):
    found = plan(random_checkpoint, tmp_path / "lake", steps=[SAMPLED, *steps])
    assert any(told.removeprefix("step ablations: ") in problem for problem in found.problems)
    with pytest.raises(PersonascopeError, match=re.escape(told)):
        StudyRun(study(random_checkpoint, steps=[SAMPLED, *steps]), tmp_path / "lake", RunOptions(device="cpu", track=False))
    assert not (tmp_path / "lake").exists()


@pytest.mark.parametrize("width", [60, 80, 109, 110, 200])
def test_a_plan_is_read_at_every_width_of_a_terminal(random_checkpoint, tmp_path, width):
    told = StringIO()
    show_plan(plan(random_checkpoint, tmp_path / "lake"), Console(file=told, width=width))
    lines = [line.rstrip() for line in told.getvalue().splitlines()]
    assert ("┏" in told.getvalue()) == (width >= 110)
    words = set(re.split(r"[\s;:│]+", told.getvalue()))
    assert {"completions", "logit_lens", "activations", "personas", "samples"} <= words, "no word is broken"
    assert any(line.startswith("- entropy:") for line in lines) == (width < 110)
    assert told.getvalue().count("≤") == 2, "texts and rows of what reads completions are known at most"
