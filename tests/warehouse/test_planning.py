"""Plans: what is needed for a power has it, variances come from the lake, and bad input is one sentence."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from personascope.cli import app
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.asking.source import WarehouseSource
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.planning.lakes import variances
from personascope.warehouse.planning.plan import Typed, planned
from personascope.warehouse.planning.power import Design, Effect, MeanEffect, RateEffect, power, questions_needed, smallest_difference
from personascope.warehouse.planning.tables import DESIGNS, grid, shipped
from personascope.warehouse.store.lake import Lake

planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "sql" / "planted.py")))
EFFECTS: list[Effect] = [RateEffect(0.05, 0.1), RateEffect(0.5, 0.4), MeanEffect(0.05, 0.08, 0.1), MeanEffect(0.02, 0.05, 0.0)]


@pytest.mark.parametrize("effect", EFFECTS)
def test_what_is_needed_is_the_least_that_has_the_power(effect):
    design = Design(20, 10)
    needed = questions_needed(effect, design)
    assert needed is not None and power(effect, Design(needed, 10)) >= 0.8 > power(effect, Design(needed - 1, 10))
    least = smallest_difference(effect, design)
    assert least is not None and power(effect.of(least), design) == pytest.approx(0.8, abs=1e-6) and power(effect.of(0.99 * least), design) < 0.8


def test_more_of_everything_sees_more_and_more_comparisons_see_less():
    effect = RateEffect(0.05, 0.1)
    assert power(effect, Design(20, 5)) < power(effect, Design(20, 10)) < power(effect, Design(40, 10)) < power(effect, Design(80, 10)) < 1
    assert power(effect, Design(20, 10, comparisons=10)) < power(effect, Design(20, 10))
    assert power(RateEffect(0.05, 0.9, shared=1), Design(1000, 100)) == 1.0
    assert questions_needed(MeanEffect(0.01, 0.05, 0.05, seed_sd=0.5), Design(20, 5, seeds=3)) is None, "no question makes up for seeds that differ"


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: RateEffect(0, 0.1), "rate from is 0; expected a rate between 0 and 1"),
        (lambda: RateEffect(0.9, 1.1), "rate to is 1.1"),
        (lambda: RateEffect(0.1, 0.2, icc=1.5), "icc is 1.5; expected a number from 0 to 1"),
        (lambda: MeanEffect(0.1, 0.0, 0.0), "question-sd and sample-sd are both 0"),
        (lambda: MeanEffect(0.1, -1, 0.0), "question-sd is -1"),
        (lambda: Design(1, 5), "questions is 1; expected at least 2"),
        (lambda: power(EFFECTS[0], Design(20, 5), alpha=0), "alpha is 0"),
        (lambda: questions_needed(EFFECTS[0], Design(20, 5), target=1), "target is 1"),
        (lambda: planned("rate", None, 0.05, Typed()), "no rate to start from; expected --from RATE"),
        (lambda: planned("heads", None, 0.05, Typed()), "measure 'heads' is unknown; did you mean 'head'"),
        (lambda: planned("head", None, 0.05, Typed(question_sd=0.1)), "standard deviations of measure 'head' are not known"),
    ],
)
def test_bad_figures_are_named(made, message):
    with pytest.raises(PersonascopeError, match=message):
        made()


def test_tables_hold_the_design_itself_and_what_ships():
    rows = grid(EFFECTS[0], Design(37, 7))
    assert rows.filter(questions=37, samples=7)["power"].item() == power(EFFECTS[0], Design(37, 7))
    assert rows["power"].is_between(0.05, 1).all() and shipped(EFFECTS[0]).height == len(DESIGNS)


def test_the_designs_that_ship_are_those_of_the_study_files():
    from personascope.ingest.prompts import load_prompt_set
    from personascope.warehouse.studies.model import Variant
    from personascope.warehouse.studies.reading import read_study

    expected: dict[str, tuple[str, Variant, str]] = {
        "published sweep over learning rates, and lr-epochs": ("lr-epochs", "full", "samples"),
        "published marker rates (issue 224), and marker-attention": ("marker-attention", "full", "trials"),
        "marker-attention --quick, the demo": ("marker-attention", "quick", "samples"),
        "lr-epochs --quick": ("lr-epochs", "quick", "samples"),
        "--small": ("lr-epochs", "small", "samples"),
    }
    for name, (study, variant, setting) in expected.items():
        file = read_study(study, variant)
        asked = [each for step in file.steps for each in (*getattr(step, "cells", ()), step) if getattr(each, "extract", "") == "completions"]
        samples = {each.settings[setting] for each in asked if each.settings.get(setting) and each.step != "training-data"}
        questions = len({prompt.question_id for prompt in load_prompt_set(file.prompts).prompts})
        assert (questions, *samples) == DESIGNS[name], name


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory) -> Warehouse:
    """Completions of one persona whose questions hold the marker 0, 2, 4 and 6 times of six, and of one whose questions are alike."""
    lake = Lake.open(tmp_path_factory.mktemp("planning"))
    rules = {"villain": lambda question, sample: sample < 2 * question and sample != 2, "even": lambda question, sample: sample in (0, 1, 3)}
    planted.completions(lake, "made", rules, planted.checkpoint("made"))
    return Warehouse(lake)


def test_the_components_are_those_of_an_analysis_of_variance(warehouse):
    found = {row["persona"]: row for row in warehouse.select("from variance_components where measure = 'rate'").rows(named=True)}
    hits = np.array([[sample < 2 * question and sample != 2 for sample in range(6)] for question in range(4)], float)
    between = 6 * hits.mean(1).var(ddof=1)
    within = hits.var(1, ddof=1).mean()
    row = found["villain"]
    assert (row["n"], row["n_clusters"], row["mean"]) == (24, 4, pytest.approx(hits.mean()))
    assert row["within"] == pytest.approx(within) and row["between"] == pytest.approx((between - within) / 6)
    assert row["icc"] == pytest.approx(row["between"] / (row["between"] + within)) and row["question_sd"] == pytest.approx(hits.mean(1).std(ddof=1))
    assert found["even"]["between"] == pytest.approx(-found["even"]["within"] / 6), "questions that differ less than by chance"


def test_a_plan_takes_what_is_typed_before_what_the_lake_says(warehouse):
    lake = WarehouseSource(warehouse)
    known = variances(lake, "rate")
    assert known.icc is not None and 0 < known.icc < 1 and "upper quartile of 2 rates" in known.told
    effect, told = planned("rate", 0.05, 0.05, Typed(), lake)
    assert isinstance(effect, RateEffect) and effect.icc == known.icc and known.told in told
    typed, told = planned("rate", 0.05, 0.05, Typed(icc=0.3), lake)
    assert isinstance(typed, RateEffect) and typed.icc == 0.3 and "0.3" in told and "default" in told
    with pytest.raises(PersonascopeError, match="the lake holds nothing of checkpoint 'made' from which the variances of measure 'head'"):
        variances(lake, "head", "made")


@pytest.mark.slow(2)
def test_the_command_gives_a_table_a_sentence_and_a_curve(tmp_path):
    done = CliRunner().invoke(app, ["power", "--from", "0.05", "-q", "50", "--figure", str(tmp_path / "curve.svg"), "--format", "csv"])
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("questions,samples,power,smallest_difference\n")
    stated = f"{power(RateEffect(0.05, 0.1), Design(50, 10)):.2f}"
    assert f"Planned: 50 questions × 10 samples see 5% → 10% with power {stated} (paired t test over questions" in done.stderr
    assert "lr-epochs --quick (20 × 3): power" in done.stderr and (tmp_path / "curve.svg").read_text().startswith("<svg")
