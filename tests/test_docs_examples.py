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
Run = Callable[..., subprocess.CompletedProcess[str]]


def write(block: Block, folder: Path) -> Path:
    assert block.title is not None
    path = folder / block.title
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(block.text, encoding="utf-8")
    return path


def runner(path: Path, folder: Path) -> Run:
    """Runs Python with the package at `path` in front, in `folder`, with a lake and a tracking store of its own there."""
    own = {"PYTHONPATH": str(path), "PERSONASCOPE_LAKE": str(folder / "lake"), "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'tracking.db'}"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([sys.executable, *arguments], cwd=folder, env=os.environ | own, capture_output=True, text=True)
        assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
        return done

    return run


@pytest.fixture(scope="module")
def extended(tmp_path_factory, random_checkpoint) -> Run:
    """A copy of the package with every file that the pages on adding show, and a lake into which the added extractor has run."""
    folder = tmp_path_factory.mktemp("extended")
    package = folder / "path" / "personascope"
    shutil.copytree(HOME, package, ignore=lambda place, names: {"__pycache__", *(LEFT_OUT if Path(place) == HOME else ())} & set(names))
    for block in ADDED:
        assert not (package / str(block.title)).exists(), f"{block.title} is there already, so the example adds nothing"
        write(block, package)
    run = runner(package.parent, folder)
    run("-m", "personascope", "extract", "surprisal", "--checkpoint", str(random_checkpoint), "--name", "random", "--prompts", "personas", "--no-track")
    return run


def test_every_kind_that_the_design_names_has_an_example():
    added = {str(block.title).rpartition("/")[0] for block in ADDED}
    assert added == {"sql/tables", "extract/extractors", "sql/circuits", "sql/audit", "warehouse/drawing/figures", "app_pages/surprisal"}


@pytest.mark.slow(40)
def test_the_added_extractor_writes_the_added_table(extended):
    import polars as pl

    query = "select persona, nll, n_tokens, vocab_size from surprisal where subject = 'random' and prompt_set like 'personas@%'"
    said = extended("-m", "personascope", "sql", query)
    rows = pl.read_csv(said.stdout.encode())
    assert rows.height == 220 and rows["nll"].min() > 0 and rows["n_tokens"].min() > 10 and rows["vocab_size"].n_unique() == 1
    assert "surprisal: `surprisal`: mean negative log-likelihood" in extended("-m", "personascope", "extract", "list").stdout


@pytest.mark.slow(10)
def test_the_added_surprisal_is_the_loss_transformers_computes(extended, random_checkpoint):
    script = f"""
import torch
from transformers import AutoModelForCausalLM
from personascope import open_lake
rows = open_lake().sql("select e.token_ids, s.nll from surprisal as s join examples as e using (run_id, example_id) order by s.example_id limit 5")
model = AutoModelForCausalLM.from_pretrained({str(random_checkpoint)!r})
for ids, nll in rows.rows():
    ids = torch.tensor([ids])
    with torch.inference_mode():
        expected = model(input_ids=ids, labels=ids).loss.item()
    assert abs(expected - nll) < 1e-4, (expected, nll)
print(rows.height)
"""
    assert extended("-c", script).stdout.split()[-1] == "5"


@pytest.mark.slow(10)
def test_the_added_view_is_the_mean_with_its_error_by_question(extended):
    script = """
import numpy as np
from personascope import open_lake
lake = open_lake()
read = lake.sql("select question_id, nll from surprisal where persona = 'villain'")
(row,) = lake.sql("from persona_surprisal where persona = 'villain'").rows(named=True)
values = read["nll"].to_numpy().astype(float)
assert read["question_id"].n_unique() == len(values) == row["n"] == row["n_clusters"] == 20
assert abs(values.mean() - row["nll"]) < 1e-9
assert abs(values.std(ddof=1) / np.sqrt(20) - row["clustered_sem"]) < 1e-6, "one prompt a question: the clustered error is the plain one"
assert row["clustered_low"] < row["nll"] < row["clustered_high"]
described = lake.views("persona_surprisal")
assert described["meaning"].str.len_chars().min() > 0
"""
    extended("-c", script)


@pytest.mark.slow(10)
def test_the_added_check_finds_a_checkpoint_worse_than_guessing_and_nothing_else(extended):
    script = """
from personascope import open_lake
lake = open_lake()
(found,) = lake.sql("from audit_worse_than_guessing").rows(named=True)
n = lake.sql("select count(*) as n from surprisal where nll > ln(vocab_size)").item()
assert found["finding"].startswith(f"{n} of 220 prompts have a surprisal above"), found
assert lake.sql(found["evidence"]).height == n > 0
assert lake.sql("select count(*) as n from audit where \\"check\\" = 'worse_than_guessing' and severity = 'error'").item() == 1
"""
    extended("-c", script)
    silent = "from personascope.warehouse.asking.catalogue import connect; from personascope.warehouse.store.lake import Lake; import sys"
    fine = "c = connect(Lake.open('fine')); assert c.sql('from audit_worse_than_guessing').fetchall() == []"
    extended("-c", f"{silent}\n{fine}")


@pytest.mark.slow(15)
def test_the_added_figure_is_drawn_by_the_notebook_and_the_added_page(extended):
    script = """
from streamlit.testing.v1 import AppTest
from personascope import open_lake
chart = open_lake().figure("persona_surprisal", subject="random").to_dict()
assert chart["title"]["text"] == "How surprising are the prompts of each persona? random"
assert len(chart["datasets"]["rows"]) == 11
script = "from personascope.app import draw, page_modules; draw(page_modules()['surprisal'])"
page = AppTest.from_string(script, default_timeout=60)
page.run()
assert not page.exception, page.exception
assert [each.value for each in page.title] == ["Surprisal"]
assert len(page.get("vega_lite_chart")) == 1 and page.dataframe[0].value.shape == (11, 6)
"""
    extended("-c", script)


@pytest.mark.slow(25)
def test_the_study_of_the_tutorial_runs_and_its_claim_is_judged(tmp_path, random_checkpoint):
    for block in TYPED:
        write(block, tmp_path)
    assert {block.title for block in TYPED} == {"my-prompts.csv", "my-study.yaml", "my-study.claims.yaml"}
    run = runner(HOME.parent, tmp_path)
    own = ("--checkpoint", f"mine={random_checkpoint}")
    planned = run("-m", "personascope", "run", "my-study.yaml", "--plan", *own).stdout
    assert "2 runs: 2 to do" in planned and not (tmp_path / "lake").exists()
    answer = run("-m", "personascope", "run", "my-study.yaml", "--quick", "--no-track", *own).stdout
    assert [line.split(",")[0::2] for line in answer.splitlines()] == [["persona", "questions"], ["clerk", "3"], ["poet", "3"]]
    assert "| confirmed | no-marker |" in run("-m", "personascope", "check", "my-study.yaml").stdout
    run("-m", "personascope", "report", "my-study.yaml")
    assert (tmp_path / "report-my-study" / "report.html").is_file()
