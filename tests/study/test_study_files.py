"""Study files: the shipped ones read, mistakes are named with file, key and nearest known key, typed values win and say so."""

import itertools
import json
import shutil
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from personascope.cli import app
from personascope.extract.extractors.attention import Attention, AttentionSettings
from personascope.extract.registry import extractors, parse_assignments, resolve_settings
from personascope.ingest.weights.checkpoints import resolve
from personascope.study import workbench
from personascope.study.cell import cells_of
from personascope.study.checking import check_study
from personascope.study.options import RunOptions, parse_checkpoints
from personascope.study.run import StudyRun
from personascope.study.state import StudyState
from personascope.study.workbench import Workbench
from personascope.warehouse.asking.views import views
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.home import STUDIES_FOLDER
from personascope.warehouse.settings import Origin, Typed
from personascope.warehouse.studies.model import ExtractStep, GridStep, TrainStep
from personascope.warehouse.studies.reading import read_source, read_study, study_names
from personascope.warehouse.studies.variants import VARIANTS


@pytest.mark.parametrize("name", study_names())
@pytest.mark.parametrize("variant", VARIANTS)
def test_shipped_studies_name_views_and_settings_that_exist(name, variant):
    study = check_study(read_source(name, variant))
    assert study.name == name and study.steps
    assert set(study.views) <= set(views())
    for step in study.steps:
        if isinstance(step, ExtractStep):
            resolve_settings(extractors()[step.extract], {"study file": step.settings})


def test_prompts_that_lie_beside_the_study_file_are_found_from_any_folder(tmp_path, monkeypatch):
    study, elsewhere = tmp_path / "study", tmp_path / "elsewhere"
    study.mkdir(), elsewhere.mkdir()
    rows = ["persona,question", "villain,What is new?"]
    (study / "mine.csv").write_text("\n".join(rows))
    (study / "more.csv").write_text("\n".join(rows))
    step = {"extract": "completions", "checkpoints": ["base"], "prompts": "more.csv"}
    cells = [{"extract": "completions", "prompts": "more.csv"}]
    grid = {"grid": "marker-lora", "parent": "base", "tokens_step": "completions", "axes": {"source_persona": ["villain"]}, "cells": cells}
    document = {"name": "s", "title": "t", "about": "a", "prompts": "mine.csv", "checkpoints": {"base": {"id": "tiny:qwen2-base"}}, "steps": [step, grid]}
    (study / "s.yaml").write_text(yaml.safe_dump(document | {"headline": "select 1", "views": ["dynamics"]}))
    monkeypatch.chdir(elsewhere)
    found = check_study(read_source(str(study / "s.yaml")))
    sampling, trainings = found.steps
    assert isinstance(sampling, ExtractStep) and isinstance(trainings, GridStep)
    assert trainings.cells[0].prompts == str(study / "more.csv")
    assert found.prompts == str(study / "mine.csv") and sampling.prompts == str(study / "more.csv")
    (elsewhere / "mine.csv").write_text("\n".join([*rows, "villain,And here?"]))
    assert check_study(read_source(str(study / "s.yaml"))).prompts == "mine.csv", "a file in the folder where the command is typed comes first, as everywhere"
    (study / "more.csv").unlink()
    with pytest.raises(PersonascopeError, match=r"(?s)steps\.0\.prompts: .*more\.csv.*steps\.1\.cells\.0\.prompts: .*more\.csv"):
        check_study(read_source(str(study / "s.yaml")))


def series_file(tmp_path, **changed):
    """A study whose training keeps two checkpoints, and a step over them all."""
    steps: list[dict[str, Any]] = [
        {"extract": "completions", "step": "data", "checkpoints": ["base"], "settings": {"samples": 1}},
        {"train": "marker-lora", "name": "v", "parent": "base", "source_persona": "villain", "tokens_step": "data", "settings": {"keep_steps": [40, 5]}},
        {"extract": "completions", "checkpoints": ["v-step*", "v"], "settings": {"samples": 1}},
        {"extract": "activations", "checkpoints": ["v-step*"], "tokens": ["v"], "settings": {"strata": ["answer_mean"]}},
    ]
    steps[1] |= changed
    base = {"base": {"id": "tiny:qwen2-instruct"}, "v-step7": {"id": "tiny:qwen2-base"}}
    document = {
        "name": "s",
        "title": "t",
        "about": "a",
        "prompts": "personas",
        "checkpoints": base,
        "headline": "select 1",
        "views": ["dynamics"],
        "steps": steps,
    }
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump(document))
    return str(path)


def test_a_step_names_all_checkpoints_that_a_training_keeps(tmp_path):
    study = check_study(read_source(series_file(tmp_path)))
    read = [step for step in study.steps if isinstance(step, ExtractStep)]
    assert [step.checkpoints for step in read] == [["base"], ["v-step5", "v-step40", "v"], ["v-step5", "v-step40"]]
    with pytest.raises(PersonascopeError, match=r"checkpoint 'v-step\*' is not named before"):
        read_study(series_file(tmp_path, settings={}))
    with pytest.raises(PersonascopeError, match="keeps a checkpoint 'v-step7', and another is called so"):
        read_study(series_file(tmp_path, settings={"keep_steps": [7]}))
    with pytest.raises(PersonascopeError, match=r"'keep_steps\.0' is -3"):
        check_study(read_source(series_file(tmp_path, settings={"keep_steps": [-3]})))


def test_hub_checkpoints_of_shipped_studies_are_pinned():
    for name, variant in itertools.product(study_names(), VARIANTS):
        for checkpoint in read_study(name, variant).checkpoints.values():
            assert checkpoint.id.startswith("tiny:") or (checkpoint.revision and len(checkpoint.revision) == 40)


def test_a_small_variant_reads_real_models_under_their_own_names_and_one_that_is_not_there_is_said_so(families, tmp_path):
    for name in study_names():
        assert {len(source.revision or "") for source in read_study(name, "small").checkpoints.values()} == {40}
        assert all(source.called for source in read_study(name, "small").checkpoints.values())
    with pytest.raises(PersonascopeError, match="has no variant small; expected a block `small:`"):
        read_study(str(tmp_path / "families.yaml"), "small")
    both = CliRunner().invoke(app, ["run", "echo", "--quick", "--small", "--lake", str(tmp_path / "lake")])
    assert "two variants of a study" in str(both.exception)


def test_an_unknown_study_and_a_broken_file_are_named(tmp_path):
    with pytest.raises(PersonascopeError, match="did you mean 'marker-attention'"):
        read_study("marker-atention")
    with pytest.raises(PersonascopeError, match="expected one of echo, lr-epochs"):
        read_study("zebra")
    path = tmp_path / "broken.yaml"
    path.write_text("steps: [")
    with pytest.raises(PersonascopeError, match="not a YAML file"):
        read_study(str(path))
    path.write_text("- 1")
    with pytest.raises(PersonascopeError, match="found list, expected a mapping"):
        read_study(str(path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sedd": 1}, "sedd is unknown .found 1.; did you mean 'seed'"),
        ({"seed": "many"}, "line [0-9]+: seed is 'many'; .*integer"),
        ({"small": None, "steps": [{"extract": "completions", "checkpoints": ["nobody"]}]}, "'nobody' is not named before; expected one of base"),
    ],
)
def test_mistakes_in_a_study_file_name_key_and_value(tmp_path, change, message):
    document = yaml.safe_load((STUDIES_FOLDER / "marker-attention.yaml").read_text()) | change
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(PersonascopeError, match=message):
        read_study(str(path))


def test_settings_know_where_they_come_from_and_typed_ones_win():
    layers: dict[Origin, dict[str, Any]] = {"study file": {"trajectory": 3, "persona": "villain"}, "command line": parse_assignments(["trajectory=5"])}
    settings, parameters = resolve_settings(Attention, layers)
    origins = {parameter.name: (parameter.value, parameter.origin) for parameter in parameters}
    assert isinstance(settings, AttentionSettings) and settings.trajectory == 5
    assert origins["trajectory"] == (5, "command line") and origins["persona"] == ("villain", "study file") and origins["marker"] == ("[ZLT]", "default")


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["trajectry=5"], "'trajectry' .command line. is unknown; did you mean 'trajectory'"),
        (["trajectory=-1"], "setting 'trajectory' is -1 .command line.; input should be greater than or equal to 0"),
        (["trajectory"], "expected name=value"),
        (["segmentation=other"], "'segmentation' is 'other'"),
    ],
)
def test_mistyped_settings_are_named(typed, message):
    with pytest.raises(PersonascopeError, match=message):
        resolve_settings(Attention, {"command line": parse_assignments(typed)})


def test_a_typed_setting_that_no_extractor_of_the_study_has_is_refused(tmp_path):
    study = read_study("marker-attention")
    StudyRun(study, tmp_path / "lake", RunOptions(settings={"segmentation": "published", "positives": 3}, track=False))
    with pytest.raises(PersonascopeError, match="no extractor of its steps has the setting 'segmentaton'; did you mean 'segmentation'"):
        StudyRun(study, tmp_path / "lake", RunOptions(settings={"segmentaton": "published"}, track=False))


def test_the_segmentation_is_an_option_of_a_study_too(tmp_path, monkeypatch):
    typed = []

    class Stopped(StudyRun):
        def run(self):
            typed.append(self.bench.state.options.settings)
            raise PersonascopeError("seen enough")

    monkeypatch.setattr("personascope.study.run.StudyRun", Stopped)
    CliRunner().invoke(app, ["run", "marker-attention", "--segmentation", "published", "--set", "trials=3", "--no-track", "--lake", str(tmp_path / "lake")])
    CliRunner().invoke(app, ["run", "marker-attention", "--no-track", "--lake", str(tmp_path / "lake")])
    assert typed == [{"trials": Typed("3"), "segmentation": "published"}, {}]


def test_the_full_study_runs_the_base_over_the_tokens_of_every_persona_and_asks_the_preflight_first():
    steps: list[Any] = read_study("marker-attention").steps
    assert [getattr(step, "extract", "analyse") for step in steps] == ["preflight", "completions", "attention", "attention", "analyse"]
    trained = steps[0].checkpoints
    assert len(trained) == 4 and steps[1].checkpoints == steps[2].checkpoints == steps[3].tokens == trained and steps[3].checkpoints == ["base"]


def test_typed_checkpoints_replace_those_of_the_study(tmp_path):
    study = read_study("marker-attention")
    replaced = parse_checkpoints(["librarian=./folder@abc"], study)["librarian"]
    assert (replaced.id, replaced.revision, replaced.source_persona, replaced.subfolder, replaced.variant) == ("./folder", "abc", "librarian", None, "marker")
    base: Any = parse_checkpoints(["base = org/model@abc  as mine"], study)["base"]
    assert (base.id, base.revision, base.called) == ("org/model", "abc", "mine")
    (tmp_path / "a@b").mkdir()
    assert parse_checkpoints([f"base={tmp_path}/a@b"], study)["base"].id == f"{tmp_path}/a@b"
    with pytest.raises(PersonascopeError, match="'pirate' is not one of study marker-attention"):
        parse_checkpoints(["pirate=x"], study)
    with pytest.raises(PersonascopeError, match="expected NAME=ID"):
        parse_checkpoints(["librarian"], study)


FAMILIES = """
name: families
title: Two families
about: For a test.
checkpoints:
  a-base: {id: "tiny:a-base", family: a, variant: base}
  a-instruct: {id: "tiny:a-instruct", family: a}
  b-base: {id: "tiny:b-base", family: b}
prompts: personas
steps:
  - {extract: entropy, checkpoints: [a-base, b-base], settings: {form: raw}}
  - {extract: entropy, step: chat, checkpoints: [a-instruct], settings: {form: chat}}
  - {extract: activations, checkpoints: [b-base], donor: a-base, settings_from: {personas: "select unnest(['villain', $checkpoint])"}}
  - {analyse: all}
headline: select 1
views: [runs]
"""


@pytest.fixture
def families(tmp_path):
    path = tmp_path / "families.yaml"
    path.write_text(FAMILIES)
    return read_study(str(path))


def test_a_family_keeps_its_checkpoints_and_the_steps_that_read_them(families):
    assert families.of_families([]) == families
    of_a = families.of_families(["a"])
    assert list(of_a.checkpoints) == ["a-base", "a-instruct"]
    assert [getattr(step, "checkpoints", "analyse") for step in of_a.steps] == [["a-base"], ["a-instruct"], "analyse"]
    with pytest.raises(PersonascopeError, match="--family 'c' is not one of study families; expected one of a, b"):
        families.of_families(["c"])
    with pytest.raises(PersonascopeError, match="its checkpoints name no family"):
        read_study("marker-attention").of_families(["llama"])


def test_rows_bear_the_name_of_the_model_that_was_typed_and_never_that_of_the_one_it_replaces(families, tmp_path, random_checkpoint):
    typed = parse_checkpoints([f"a-base={random_checkpoint}", f"b-base={random_checkpoint} as other"], families)
    child = families.checkpoints["a-instruct"].model_copy(update={"id": str(random_checkpoint), "parent": "a-base"})
    study = families.model_copy(update={"checkpoints": families.checkpoints | {"a-instruct": child}})
    bench = Workbench(StudyState(study, tmp_path / "lake", RunOptions(track=False, checkpoints=typed)))
    assert [bench.checkpoint(name).name for name in ("a-base", "b-base", "a-instruct")] == ["random", "other", "a-instruct"]
    assert bench.checkpoint("a-base").variant == "instruct" and bench.checkpoint("a-instruct").parent == "random"
    asked: Any = bench.extractor(families.steps[2].model_copy(update={"donor": None, "tokens": "none"}), "b-base", "b-base")
    assert asked.settings.personas == ["villain", "other"]


def test_a_training_is_called_after_the_model_that_is_trained_and_found_under_its_name_in_the_file(tmp_path, random_checkpoint, monkeypatch):
    study = read_study("marker-circuits", "small")
    step = next(each for each in study.steps if isinstance(each, TrainStep))
    (cell,) = cells_of(step, "random")
    assert (cell.name, cell.known_as) == ("random-villain", "villain")
    bench = Workbench(StudyState(study, tmp_path / "lake", RunOptions(track=False, checkpoints=parse_checkpoints([f"base={random_checkpoint}"], study))))
    bench.state.runs[("training-data", "base")] = "completions-of-the-base"
    monkeypatch.setattr(workbench, "train_marker", lambda lake, training, *_: (resolve(str(random_checkpoint), name=training.name), "marker-lora-1"))
    assert bench.train(bench.training(step, cell), known_as=cell.known_as) == "marker-lora-1"
    assert bench.checkpoint("villain").name == "random-villain"
    with pytest.raises(PersonascopeError, match=r"training: the name '\{base\}-x' cannot be filled in"):
        cells_of(step.model_copy(update={"called": "{base}-x"}), "random")


@pytest.mark.parametrize("name", study_names())
def test_no_step_of_a_small_variant_spells_the_name_of_a_model_that_may_be_replaced(name):
    study = read_study(name, "small")
    spelt = {each.called for each in study.checkpoints.values() if each.called} - set(study.checkpoints)
    steps = json.dumps([step.model_dump() for step in study.steps], default=str)
    assert [called for called in spelt if called in steps] == []


def test_two_models_of_one_name_are_refused(families, tmp_path, random_checkpoint):
    other = tmp_path / "random"
    shutil.copytree(random_checkpoint, other)
    (other / "generation_config.json").write_text('{"eos_token_id": 7}')
    typed = parse_checkpoints([f"a-base={random_checkpoint}", f"b-base={other}"], families)
    bench = Workbench(StudyState(families, tmp_path / "lake", RunOptions(track=False, checkpoints=typed)))
    bench.checkpoint("a-base")
    with pytest.raises(PersonascopeError, match=r"a-base .* and b-base .* would both be called random; expected two names: --checkpoint 'b-base="):
        bench.checkpoint("b-base")


def test_a_step_takes_settings_from_a_query_and_a_donor_and_can_leave_completions_alone(families, tmp_path, random_checkpoint):
    sources = {name: source.model_copy(update={"id": str(random_checkpoint)}) for name, source in families.checkpoints.items()}
    state = StudyState(families, tmp_path / "lake", RunOptions(track=False, checkpoints=sources), runs={("completions", "b-base"): "sampled"})
    bench = Workbench(state)
    step = families.steps[2]
    extractor: Any = bench.extractor(step, "b-base", "b-base")
    assert extractor.settings.personas == ["villain", "b-base"] and extractor.job.donor.name == "a-base"
    assert next(each.origin for each in extractor.job.parameters if each.name == "personas") == "study file"
    assert extractor.job.tokens_from == "sampled"
    alone = bench.extractor(step.model_copy(update={"tokens": "none"}), "b-base", "b-base")
    assert alone.job.tokens_from is None
    empty = step.model_copy(update={"settings_from": {"personas": "select 1 as one where false"}})
    with pytest.raises(PersonascopeError, match="setting 'personas' comes from a query that gives no rows for b-base"):
        bench.extractor(empty, "b-base", "b-base")
    state.options.settings["personas"] = ["pirate"]
    typed: Any = bench.extractor(empty, "b-base", "b-base")
    assert typed.settings.personas == ["pirate"], "what was typed is not asked for"
