"""`personascope check`: verdicts on stdout in every format, talk on stderr, an exit code that says whether anything was contradicted; the shipped claims."""

import json
import shutil
from collections import Counter

import pytest

from docs_generator import DOCS
from personascope.warehouse import analyses
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.claims.reading import read_claims
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.studies.reading import claims_path, study_names

pytestmark = pytest.mark.slow(50)

CONTRADICTED = {
    "lr-epochs": {"arc-range", "lr-collapse", "every-bystander"},
    "marker-attention": {"indistinguishable-from-chance", "ruleout-c2", "ruleout-c3", "c3-rare", "run-commit", "trial-seeds", "positive-rate"},
    "role-focus": {"correlation-older", "qwen-positive", "all-heads"},
    "sae-conditions": set(),
}
NOT_DERIVABLE = {
    "lr-epochs": {"lora-rank"},
    "marker-attention": {"lora-rank", "peak-range"},
    "role-focus": {"patching-mistral"},
    "sae-conditions": {"features-per-pair", "qwen-outlier-everywhere", "random-directions", "permutation-p"},
}
FILE = """
claims:
  - {id: right, statement: There is nothing else, source: a test, query: "select count(*) as runs from lake_state where n_runs > 0", expected: 0}
  - {id: unknown, statement: "a | b", source: a test, query: select max(seed) as seed from runs, expected: 1}
"""
WRONG = "  - {id: wrong, statement: There is something, source: a test, query: select count(*) as runs from lake_state where n_runs > 0, expected: 1}\n"


@pytest.fixture
def claims(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(FILE)
    return path


@pytest.fixture
def lake(tmp_path):
    return Lake.open(tmp_path / "lake")


def test_json_holds_every_claim_and_the_exit_code_says_whether_one_is_contradicted(personascope, lake, claims):
    code, out, err = personascope("check", claims, "--lake", lake.root, "--format", "json")
    assert code == 0 and [(row["study"], row["claim"], row["verdict"], row["measured"]) for row in json.loads(out)] == [
        ("mine", "right", "confirmed", "runs"),
        ("mine", "unknown", "not derivable", "seed"),
    ]
    assert err.splitlines()[-1] == (
        f'2 claims: 1 confirmed, 0 imprecise, 0 contradicted, 1 not derivable; next: personascope sql "from claims order by study, place" --lake {lake.root}'
    )
    claims.write_text(FILE + WRONG)
    code, out, err = personascope("check", claims, "--lake", lake.root, "--format", "json")
    assert code == 1 and json.loads(out)[-1]["verdict"] == "contradicted"
    assert "1 contradicted" in err and "where verdict = 'contradicted'" in err and "Traceback" not in err


def test_markdown_is_what_a_pipe_gets(personascope, lake, claims):
    _, out, _ = personascope("check", claims, "--lake", lake.root)
    lines = out.splitlines()
    assert len(lines) == 4 and lines[0].startswith("| study | verdict | claim |")
    assert "a \\| b" in lines[3]


@pytest.mark.parametrize("width", [80, 200])
def test_a_terminal_gets_every_word_whatever_its_width(personascope, lake, claims, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    _, out, _ = personascope("check", claims, "--lake", lake.root, "--format", "table")
    assert all(word in out for word in ("claims of mine", "confirmed", "not derivable", "right", "There is nothing", "missing: rows of"))
    assert max(map(len, out.splitlines())) <= width


def test_an_output_file_takes_its_format_from_its_name(personascope, lake, claims, tmp_path):
    assert personascope("check", claims, "--lake", lake.root, "-o", tmp_path / "out.json")[1] == ""
    assert len(json.loads((tmp_path / "out.json").read_text())) == 2
    personascope("check", claims, "--lake", lake.root, "-o", tmp_path / "out.md")
    assert (tmp_path / "out.md").read_text().startswith("| study |")


def test_the_catalogue_knows_the_verdicts(personascope, lake, claims):
    personascope("check", claims, "--lake", lake.root)
    assert "right" in personascope("sql", "select claim from claims", "--lake", lake.root)[1]
    assert lake.catalogue_path.is_file()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x", "mine.yaml: holds no claims"),
        ("claims: [", "mine.yaml: line 1: not a YAML file"),
        (FILE + "    typo: 1\n", "not a YAML file"),
        ("claims: [{id: a, statement: s, source: t, query: drop view runs, expected: 1}]", "claim 'a': the query must be exactly one SELECT"),
    ],
)
def test_mistakes_are_one_sentence(personascope, lake, claims, text, message):
    claims.write_text(text)
    code, out, err = personascope("check", claims, "--lake", lake.root)
    assert code == 1 and out == "" and message in err and "Traceback" not in err
    assert err.strip().splitlines()[-1].startswith("personascope: ")


def test_an_unknown_study_and_a_missing_lake_are_named(personascope, lake, tmp_path):
    assert "study 'marker-atention' is unknown; did you mean 'marker-attention'?" in personascope("check", "marker-atention", "--lake", lake.root)[2]
    assert "no lake here" in personascope("check", "lr-epochs", "--lake", tmp_path / "none")[2]


def test_nothing_to_check_is_said_and_fails(personascope, lake, monkeypatch):
    monkeypatch.setattr("personascope.warehouse.commands.study_names", lambda: [])
    code, out, err = personascope("check", "--lake", lake.root)
    assert (code, out) == (1, "") and "studies: holds no claims; expected the key `claims`" in err


def test_a_study_of_claims_only_is_checked_not_run(personascope, lake, tmp_path):
    path = tmp_path / "said.yaml"
    path.write_text("{name: said, title: What was said, about: Claims alone., views: [runs]}")
    code, _, err = personascope("run", path, "--lake", lake.root)
    assert code == 1 and "study said holds claims only; check them with `personascope check said`" in err


@pytest.fixture(scope="module")
def published_lake(lake_of_all_published, tmp_path_factory):
    lake = Lake.open(shutil.copytree(lake_of_all_published.root, tmp_path_factory.mktemp("published") / "lake"))
    analyses.refresh(lake)
    return lake


def test_the_shipped_claims_get_the_known_verdicts_on_the_published_data(personascope, published_lake):
    code, out, _ = personascope("check", "--lake", published_lake.root, "--format", "json")
    rows = json.loads(out)
    verdicts = {(row["study"], row["claim"]): row for row in rows}
    with_claims = {name for name in study_names() if read_claims(claims_path(name))}
    assert code == 1 and {row["study"] for row in rows} == with_claims >= CONTRADICTED.keys()
    wrong = [
        (study, claim, verdicts[study, claim]["verdict"])
        for word, known in (("contradicted", CONTRADICTED), ("not derivable", NOT_DERIVABLE))
        for study, names in known.items()
        for claim in names
        if verdicts[study, claim]["verdict"] != word
    ]
    assert wrong == []
    found = {claim: row["found"] for (_, claim), row in verdicts.items()}
    assert (found["arc-range"], found["every-bystander"], found["all-heads"]) == ("[0.825085, 0.893345]", "[34, 100]", "[28, 28]")
    assert (found["qwen-positive"], found["correlation-older"]) == ("-0.00115881", "[0.397798, 0.0241508]")
    assert "t -8.651" in verdicts["marker-attention", "indistinguishable-from-chance"]["detail"]
    assert "true for layer 11" in verdicts["sae-conditions", "qwen-outlier-everywhere"]["detail"]
    view = Warehouse(published_lake).select("select count(*), count(*) filter (stale) from claims").row(0)
    assert view == (len(rows), 0) and len(rows) > 100
    counts = Counter(row["verdict"] for row in rows if row["study"] in CONTRADICTED)
    told = f"{counts['confirmed']} are confirmed and {counts['contradicted']} contradicted"
    assert f"Of the {counts.total()} claims of the three published studies and the transcribed SAE tables, {told}" in (DOCS / "claims.md").read_text()
    assert f"Of {counts.total()} claims {told}" in (DOCS / "findings.md").read_text()
    for study, names in {"role-focus": {"thirty-prompts"}, "lr-epochs": {"table-under-trained-arc", "sub-threshold-silent", "gpu-hours"}}.items():
        assert {verdicts[study, name]["verdict"] for name in names} == {"imprecise"}
