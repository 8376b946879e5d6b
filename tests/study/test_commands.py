"""`studies list`, `show` and `schema`: what ships, what a study does, and the form of a study file."""

import json

import pytest
import yaml
from jsonschema import Draft202012Validator

from personascope.warehouse.claims.reading import read_claims
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.home import STUDIES_FOLDER
from personascope.warehouse.studies.reading import claims_path, read_study, study_names


def test_every_study_is_listed_and_no_word_breaks_in_a_narrow_terminal(personascope, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = personascope("studies", "list")
    words = [word for name in study_names() for word in (name, *read_study(name).checkpoints, *read_study(name).title.split())]
    assert code == 0 and set(words) <= set(out.split())


@pytest.mark.parametrize("name", study_names())
def test_a_study_is_shown_with_settings_and_their_origins(personascope, name):
    code, out, _ = personascope("studies", "show", name, "--quick")
    assert code == 0 and "(study file)" in out and "(default)" in out and "views" in out


@pytest.fixture(scope="module")
def validator():
    from personascope.study.schema import study_schema

    schema = study_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.mark.parametrize("name", study_names())
def test_shipped_studies_keep_to_the_schema(validator, name):
    document = yaml.safe_load((STUDIES_FOLDER / f"{name}.yaml").read_text())
    assert [error.message for error in validator.iter_errors(document)] == []


@pytest.mark.parametrize(
    "change",
    [
        {"views": ["no_such_view"]},
        {"figures": ["no_such_figure"]},
        {"sedd": 1},
        {"steps": [{"extract": "completions", "checkpoints": ["base"], "settings": {"sample": 1}}]},
        {"steps": [{"extract": "complete", "checkpoints": ["base"]}]},
        {"steps": [{"grid": "marker-lora", "parent": "base", "tokens_step": "data", "axes": {"lrs": [1]}, "cells": []}]},
        {"quick": {"sedd": 1}},
    ],
)
def test_the_schema_refuses_what_the_check_refuses(validator, change):
    document = yaml.safe_load((STUDIES_FOLDER / "lr-epochs.yaml").read_text()) | change
    assert list(validator.iter_errors(document))


def test_the_schema_is_written_where_asked(personascope, tmp_path):
    code, out, err = personascope("studies", "schema", "--output", tmp_path / "study.json")
    assert code == 0 and out == "" and "yaml-language-server" in err
    assert json.loads((tmp_path / "study.json").read_text())["title"] == "StudyFile"


def test_a_study_and_its_claims_are_in_the_lake_before_its_first_step(personascope, tmp_path, monkeypatch):
    from personascope.study.run import StudyRun
    from personascope.warehouse.claims.registration import TABLE
    from personascope.warehouse.store.lake import Lake

    seen: list[object] = []

    def first_step(execution: StudyRun) -> list[str]:
        lake = execution.bench.lake
        seen.extend(lake.read(run_id, TABLE).num_rows for run_id in lake.run_ids() if run_id.startswith("registration-"))
        raise PersonascopeError("stopped here")

    monkeypatch.setattr(StudyRun, "run", first_step)
    for _ in range(2):
        code, _, err = personascope("run", "marker-attention", "--quick", "--lake", tmp_path / "lake", "--no-track")
        assert code == 1 and "stopped here" in err
    assert seen == [len(read_claims(claims_path("marker-attention")))] * 2
    assert len(Lake.existing(tmp_path / "lake").run_ids()) == 1
