"""A study file is checked before anything runs: each mistake is one sentence with file, line, key, value and the nearest known name."""

import re

import pytest

from personascope.study.checking import check_study
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.home import STUDIES_FOLDER
from personascope.warehouse.studies.reading import claims_path, read_source, study_names

STUDY = """\
name: small
title: A small study
about: For a test.
prompts: personas
checkpoints:
  base: {id: "tiny:qwen2-instruct"}
steps:
  - extract: completions
    step: data
    checkpoints: [base]
    settings:
      samples: 2
      temperature: 0.5
  - train: marker-lora
    name: villain
    parent: base
    source_persona: villain
    tokens_step: data
    settings: {epochs: 3}
  - grid: marker-lora
    parent: base
    tokens_step: data
    axes: {source_persona: [villain], lr: [1.0e-3, 2.0e-3]}
    settings: {r: 4}
    cells:
      - extract: completions
        settings:
          samples: 1
      - extract: attention
        reader: parent
  - extract: logit_lens
    checkpoints: [base]
    tokens: [base]
    tokens_step: data
    settings_from:
      personas: "select distinct persona from marker_rates where checkpoint = $checkpoint"
  - analyse: regime-labels
headline: select regime, lr from regimes
views: [regimes, marker_rates]
figures: [regime_maps]
pages: [regimes]
quick:
  steps:
    data: {settings: {samples: 1, temperature: null}}
"""


def check(tmp_path, text, variant="full", claims=None):
    path = tmp_path / "small.yaml"
    path.write_text(text)
    if claims is not None:
        (tmp_path / "small.claims.yaml").write_text(claims)
    return check_study(read_source(str(path), variant))


def test_the_study_is_right_before_anything_is_changed(tmp_path):
    full, quick = check(tmp_path, STUDY), check(tmp_path, STUDY, "quick")
    assert full.steps[0].settings == {"samples": 2, "temperature": 0.5} and quick.steps[0].settings == {"samples": 1}
    assert full.steps[1:] == quick.steps[1:]


@pytest.mark.parametrize(
    ("right", "wrong", "line", "sentence"),
    [
        ("temperature: 0.5", "temprature: 0.5", 13, r"steps\.0\.settings\.temprature: .*'temprature'.*did you mean 'temperature'\?"),
        ("temperature: 0.5", "temperature: -1", 13, r"steps\.0\.settings\.temperature: .*'temperature' is -1.*greater than or equal to 0"),
        ("{epochs: 3}", "{epoch: 3}", 19, r"steps\.1\.settings\.epoch: .*'epoch'.*did you mean 'epochs'\?"),
        ("{epochs: 3}", "{epochs: 0}", 19, r"steps\.1\.settings\.epochs: .*'epochs' is 0"),
        ("{r: 4}", "{alfa: 4}", 24, r"steps\.2\.settings\.alfa: .*'alfa'.*did you mean 'alpha'\?"),
        ("lr: [1.0e-3, 2.0e-3]", "lrs: [1.0e-3]", 23, r"steps\.2\.axes\.lrs: grid axis 'lrs' is unknown; did you mean 'lr'\?"),
        ("reader: parent", "reader: kept", 30, r"steps\.2\.cells\.1\.reader: no checkpoint is kept to read; expected keep_steps in the grid's settings"),
        ("          samples: 1", "          sample: 1", 28, r"steps\.2\.cells\.0\.settings\.sample: .*'sample'.*did you mean 'samples'\?"),
        ("- extract: attention", "- extract: atention", 29, r"steps\.2\.cells\.1\.extract: extractor 'atention' is unknown; did you mean 'attention'\?"),
        ("reader: parent", "reeder: parent", 30, r"steps\.2\.cells\.1\.reeder is unknown .*did you mean 'reader'\?"),
        (
            "tokens: [base]\n    tokens_step: data",
            "tokens: [base]\n    tokens_step: date",
            33,
            r"reads what step 'date' made of base, and no step before it does",
        ),
        ('      personas: "', '      persona: "', 36, r"settings_from\.persona: setting 'persona' is unknown; did you mean 'personas'\?"),
        ("from marker_rates where", "from marker_rate where", 36, r"settings_from\.personas: the query fails: .*marker_rate"),
        ("regime-labels", "regime-label", 37, r"steps\.4\.analyse: analysis 'regime-label' is unknown; did you mean 'regime-labels'\?"),
        ("select regime, lr", "select regimee, lr", 38, r"headline: the query fails: .*regimee"),
        ("[regimes, marker_rates]", "[regimes, marker_rats]", 39, r"views\.1: 'marker_rats' is no view; did you mean 'marker_rates'\?"),
        ("[regime_maps]", "[regime_map]", 40, r"figures\.0: 'regime_map' is no figure; did you mean 'regime_maps'\?"),
        ("pages: [regimes]", "pages: [regime]", 41, r"pages\.0: 'regime' is no page; did you mean 'regimes'\?"),
        ("prompts: personas", "prompts: personae", 4, r"prompts: prompt set 'personae' is unknown"),
        (
            "    checkpoints: [base]\n    settings",
            "    checkpoint: [base]\n    settings",
            10,
            r"steps\.0\.checkpoint is unknown .*did you mean 'checkpoints'\?",
        ),
        ("title: A small study", "titel: A small study", 2, r"titel is unknown .*did you mean 'title'\?"),
        ('{id: "tiny:qwen2-instruct"}', '{idd: "tiny:qwen2-instruct"}', 6, r"checkpoints\.base\.idd is unknown .*did you mean 'id'\?"),
    ],
)
def test_a_mistake_is_named_with_file_line_key_value_and_the_nearest_known_name(tmp_path, right, wrong, line, sentence):
    assert STUDY.count(right) == 1
    with pytest.raises(PersonascopeError) as error:
        check(tmp_path, STUDY.replace(right, wrong))
    assert re.match(rf"{re.escape(str(tmp_path / 'small.yaml'))}, line {line}: ", str(error.value)), error.value
    assert re.search(sentence, str(error.value)), error.value
    assert "\n" not in str(error.value)


def test_all_mistakes_of_a_file_are_told_at_once(tmp_path):
    with pytest.raises(PersonascopeError) as error:
        check(tmp_path, STUDY.replace("temperature: 0.5", "temprature: 0.5").replace("{epochs: 3}", "{epoch: 3}"))
    first, *others = str(error.value).splitlines()
    assert first == f"2 things are wrong in {tmp_path / 'small.yaml'}:" and ["line 13" in others[0], "line 19" in others[1]] == [True, True]


@pytest.mark.parametrize(
    ("right", "wrong", "sentence"),
    [
        ("    data: {settings", "    dat: {settings", r"quick\.steps: 'dat' is not one step of this variant; did you mean 'data'"),
        ("data: {settings: {samples: 1,", "data: {settings: {sample: 1,", r"line 44: steps\.0\.settings\.sample: .*did you mean 'samples'\?"),
        ("    data: {settings: {samples: 1, temperature: null}}", "    - extract: completions", r"quick\.steps: found list, expected a mapping"),
        ("    data: {settings", "    marker-lora: {settings", r"'marker-lora' is not one step of this variant; several steps are called so"),
    ],
)
def test_a_variant_is_checked_too(tmp_path, right, wrong, sentence):
    with pytest.raises(PersonascopeError, match=sentence):
        check(tmp_path, STUDY.replace(right, wrong), "quick")


@pytest.mark.parametrize("key", ["full", "quick"])
def test_a_key_that_stands_twice_is_refused(tmp_path, key):
    with pytest.raises(PersonascopeError, match=r"line 14: the key 'temperature' stands twice in one mapping"):
        check(tmp_path, STUDY.replace("      temperature: 0.5", "      temperature: 0.5\n      temperature: 0.7"), key)


def test_the_views_of_the_claims_beside_a_study_are_checked(tmp_path):
    claim = 'claims: [{id: one, statement: "x", source: y, query: "select count(*) from regimess", expected: 1}]'
    with pytest.raises(PersonascopeError, match=r"small\.claims\.yaml: claim 'one': the query fails: .*regimess"):
        check(tmp_path, STUDY, claims=claim)
    check(tmp_path, STUDY, claims=claim.replace("regimess", "regimes"))


def test_every_shipped_study_has_its_claims_beside_it():
    with_claims = {name for name in study_names() if claims_path(name).name == f"{name}.claims.yaml"}
    assert with_claims == {"echo", "lr-epochs", "marker-attention", "persona-gate", "role-focus", "sae-conditions"}
    assert not [path for path in STUDIES_FOLDER.glob("*.yaml") if "claims:" in path.read_text() and not path.name.endswith(".claims.yaml")]


def test_tokens_for_an_extractor_that_reads_prompts_are_refused(tmp_path):
    with pytest.raises(PersonascopeError, match=r"line 33: steps\.3\.tokens: entropy reads prompts, not the completions of base"):
        check(tmp_path, STUDY.replace("- extract: logit_lens", "- extract: entropy"))
