"""The worked examples of the documentation: the code stands once, on its page, and runs here in a copy of the package with every file where its title says."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from docs_blocks import Block, blocks
from personascope.warehouse.home import HOME

DOCS = HOME / "docs"
ADDED = [block for page in sorted((DOCS / "extending").glob("*.md")) for block in blocks(page) if block.title]
TYPED = [block for block in blocks(DOCS / "tutorial.md") if block.title]
LEFT_OUT = {".git", ".venv", "tests", "docs", "site", "build", "lake"}  # of the top level
Run = Callable[..., str]


def write(block: Block, folder: Path) -> Path:
    assert block.title is not None
    path = folder / block.title
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(block.text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def extended(tmp_path_factory, random_checkpoint) -> Run:
    """Runs Python with a copy of the package that holds every file the pages on adding show, beside a lake into which the added extractor has run."""
    folder = tmp_path_factory.mktemp("extended")
    package = folder / "path" / "personascope"
    shutil.copytree(HOME, package, ignore=lambda place, names: {"__pycache__", *(LEFT_OUT if Path(place) == HOME else ())} & set(names))
    for block in ADDED:
        assert not (package / str(block.title)).exists(), f"{block.title} is there already, so the example adds nothing"
        write(block, package)
    own = {"PYTHONPATH": str(package.parent), "PERSONASCOPE_LAKE": str(folder / "lake")}

    def run(*arguments: str) -> str:
        done = subprocess.run([sys.executable, *arguments], cwd=folder, env=os.environ | own, capture_output=True, text=True)
        assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    run("-m", "personascope", "extract", "surprisal", "--checkpoint", str(random_checkpoint), "--name", "random", "--prompts", "personas", "--no-track")
    return run


def test_every_kind_that_the_pages_name_has_an_example():
    added = {str(block.title).rpartition("/")[0] for block in ADDED}
    assert added == {"sql/tables", "extract/extractors", "sql/circuits", "sql/audit", "warehouse/drawing/figures", "app_pages/surprisal"}


EXTRACTOR = """
import sys
import torch
from transformers import AutoModelForCausalLM
from personascope import open_lake
from personascope.extract.registry import extractors
assert "surprisal" in extractors()
lake = open_lake("lake")
(sizes,) = lake.sql("select count(*) as n, count(distinct vocab_size) as sizes, min(n_tokens) as shortest from surprisal where subject = 'random'").rows()
assert sizes[:2] == (220, 1) and sizes[2] > 10, sizes
rows = lake.sql("select e.token_ids, s.nll from surprisal as s join examples as e using (run_id, example_id) order by s.example_id limit 5").rows()
assert len(rows) == 5
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
for ids, nll in rows:
    ids = torch.tensor([ids])
    with torch.inference_mode():
        expected = model(input_ids=ids, labels=ids).loss.item()
    assert abs(expected - nll) < 1e-4, (expected, nll)
"""


@pytest.mark.slow(25)
def test_the_added_extractor_writes_into_the_added_table_the_loss_that_transformers_computes(extended, random_checkpoint):
    extended("-c", EXTRACTOR, str(random_checkpoint))


VIEW = """
import numpy as np
read = lake.sql("select question_id, nll from surprisal where persona = 'villain'")
(row,) = lake.sql("from persona_surprisal where persona = 'villain'").rows(named=True)
values = read["nll"].to_numpy().astype(float)
assert read["question_id"].n_unique() == len(values) == row["n"] == row["n_clusters"] == 20
assert abs(values.mean() - row["nll"]) < 1e-9
assert abs(values.std(ddof=1) / np.sqrt(20) - row["clustered_sem"]) < 1e-6  # one prompt a question: the clustered error is the plain one
assert row["clustered_low"] < row["nll"] < row["clustered_high"]
assert lake.views("persona_surprisal")["meaning"].str.len_chars().min() > 0
"""
CHECK = """
(found,) = lake.sql("from audit_worse_than_guessing").rows(named=True)
n = lake.sql("select count(*) as n from surprisal where nll > ln(vocab_size)").item()
assert found["finding"].startswith(f"{n} of 220 prompts have a surprisal above"), found
assert lake.sql(found["evidence"]).height == n > 0
assert lake.sql('''select count(*) as n from audit where "check" = 'worse_than_guessing' and severity = 'error' ''').item() == 1
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import RunSpec
fine = Lake.open("fine")
spec = RunSpec(kind="extract", extractor="surprisal", version=1, identity={}, checkpoint="a", subject="a", prompt_set="p@1")
with fine.start(spec) as writer:
    writer.write_part("rows", {"surprisal": [{"example_id": "a", "persona": "b", "question_id": "c", "n_tokens": 9, "nll": 6.0, "vocab_size": 600}]})
    writer.commit()
assert open_lake("fine").sql("from persona_surprisal").height == 1 and open_lake("fine").sql("from audit_worse_than_guessing").is_empty()
"""
FIGURE = """
chart = lake.figure("persona_surprisal", subject="random").to_dict()
assert chart["title"]["text"] == "How surprising are the prompts of each persona? random"
assert len(chart["datasets"]["rows"]) == 11
"""
PAGE = """
from streamlit.testing.v1 import AppTest
page = AppTest.from_string("from personascope.app import draw, page_modules; draw(page_modules()['surprisal'])", default_timeout=60)
page.run()
assert not page.exception, page.exception
assert [each.value for each in page.title] == ["Surprisal"]
assert len(page.get("vega_lite_chart")) == 1 and page.dataframe[0].value.shape == (11, 6)
"""


@pytest.mark.slow(15)
def test_the_added_view_check_figure_and_page_say_of_the_table_what_they_should(extended):
    extended("-c", "\n".join(["from personascope import open_lake", "lake = open_lake('lake')", VIEW, CHECK, FIGURE, PAGE]))


@pytest.mark.slow(20)
def test_the_study_of_the_tutorial_runs_and_its_claim_is_judged(tmp_path, monkeypatch, personascope, random_checkpoint):
    for block in TYPED:
        write(block, tmp_path)
    assert {block.title for block in TYPED} == {"my-prompts.csv", "my-study.yaml", "my-study.claims.yaml"}
    monkeypatch.chdir(tmp_path)
    own = ("--checkpoint", f"tiny={random_checkpoint} as tiny", "--lake", "lake")
    code, planned, error = personascope("run", "my-study.yaml", "--plan", *own)
    assert code == 0 and "2 runs: 2 to do" in planned and not Path("lake").exists(), error
    code, answer, error = personascope("run", "my-study.yaml", "--quick", "--no-track", *own)
    assert code == 0, error
    rows = [["checkpoint", "persona", "questions"], ["tiny", "clerk", "3"], ["tiny", "poet", "3"]]
    assert [[*line.split(",")[:2], line.split(",")[3]] for line in answer.splitlines()] == rows
    code, answer, error = personascope("run", "my-study.yaml", "--quick", "--no-track", "--checkpoint", f"tiny={random_checkpoint} as other", "--lake", "lake")
    assert code == 0 and [line.split(",")[0] for line in answer.splitlines()] == ["checkpoint", "other", "other", "tiny", "tiny"], error
    code, verdicts, error = personascope("check", "my-study.yaml", "--lake", "lake")
    assert code == 0 and "| confirmed | no-marker |" in verdicts, error
    code, _, error = personascope("report", "my-study.yaml", "--lake", "lake")
    assert code == 0 and Path("lake", "reports", "my-study", "report.html").is_file(), error
