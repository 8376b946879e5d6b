"""Whether computed analyses still stand, and that no view shows a figure of one that does not: an input is redone, the analysis renewed, the input deleted."""

import itertools
import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace

import duckdb
import pytest

from personascope.warehouse import analyses
from personascope.warehouse.analyses.base import ask_once
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.asking.views import views
from personascope.warehouse.home import SQL_FOLDER
from personascope.warehouse.store.lake import Lake

pytestmark = pytest.mark.slow(15)

role_focus = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted_role_focus.py"))))
features = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted_features.py"))))
NAMES = ["rfc-intervals", "patching-flips"]
RESULTS = {analysis.table for analysis in analyses.analyses().values()}


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> SimpleNamespace:
    """Two families with their analyses; do not write to it."""
    made = Lake.open(tmp_path_factory.mktemp("standing"))
    runs = role_focus.build(made)
    return SimpleNamespace(lake=made, runs=runs, computed=analyses.refresh(made, NAMES))


@pytest.fixture
def lake(world, tmp_path) -> SimpleNamespace:
    """A copy to write into: ash-instruct can be redone."""
    shutil.copytree(world.lake.root, tmp_path / "lake")
    return SimpleNamespace(lake=Lake.open(tmp_path / "lake"), runs=world.runs, computed=world.computed)


def redo(lake: SimpleNamespace) -> None:
    assert role_focus.entropy_run(lake.lake, "ash", "instruct", shift=-0.4) == lake.runs["ash-instruct"], "the same run with other readings"


def standing(lake: Lake) -> dict[str, tuple[str, bool]]:
    return {row[0]: row[1:] for row in Warehouse(lake).select("select run_id, status, is_current from analysis_standing").rows()}


def intervals(lake: Lake) -> list[tuple]:
    query = "select family, layer, rfc_diff, resampled_low, resampled_high from rfc_diff order by family, layer"
    return Warehouse(lake).select(query).rows()


def flips(lake: Lake) -> list[tuple]:
    return Warehouse(lake).select("select family, layer, head, flip_p, flip_p_max_t, flip_p_fdr from patching_candidates order by family, layer, head").rows()


def test_an_analysis_stands_with_all_the_runs_it_was_computed_from(lake):
    of_ash = {run for run in lake.computed if lake.runs["ash-instruct"] in lake.lake.manifest(run).inputs}
    assert len(lake.computed) == 4 and len(of_ash) == 2
    assert standing(lake.lake) == dict.fromkeys(lake.computed, ("current", True))
    row = Warehouse(lake.lake).select("from analysis_standing where run_id = ?", [min(of_ash)]).row(0, named=True)
    assert row["inputs"] == sorted([lake.runs["ash-base"], lake.runs["ash-instruct"]])
    redo(lake)
    assert standing(lake.lake) == {run: ("outdated", False) if run in of_ash else ("current", True) for run in lake.computed}
    renewed = analyses.refresh(lake.lake, NAMES)
    assert len(renewed) == 2 and of_ash.isdisjoint(renewed)
    found = standing(lake.lake)
    assert {found[run] for run in renewed} == {("current", True)} and {found[run] for run in of_ash} == {("outdated", False)}
    lake.lake.delete(lake.runs["ash-base"])
    assert {standing(lake.lake)[run] for run in [*renewed, *of_ash]} == {("orphaned", False)}, "the graver of two reasons"


def test_current_analyses_are_read_before_others_and_the_newest_of_them_first(lake):
    redo(lake)
    analyses.refresh(lake.lake, NAMES)
    rows = Warehouse(lake.lake).select("select is_current, finished, place from analysis_standing order by place").rows()
    assert [row[2] for row in rows] == list(range(1, 7))
    assert rows == sorted(rows, key=lambda row: (not row[0], -row[1].timestamp()))


def test_of_two_analyses_of_the_same_runs_the_newer_one_stands(lake):
    """An analysis of another seed is another run over the same inputs."""
    analysis = analyses.analyses()["rfc-intervals"]
    again = type(analysis)(**{**vars(analysis), "settings": {**analysis.settings, "seed": 43}})
    newer = analyses.refresh_one(analyses.Asking(lake.lake), again)
    older = [run for run in lake.computed if run.startswith("rfc-intervals")]
    found = standing(lake.lake)
    assert {found[run] for run in newer} == {("current", True)} and {found[run] for run in older} == {("superseded", False)}
    assert len(intervals(lake.lake)) == 2 * role_focus.LAYERS


@pytest.mark.parametrize("rows_of", [intervals, flips])
def test_figures_of_an_outdated_analysis_are_gone_until_it_is_renewed(lake, rows_of):
    key = 2 if rows_of is intervals else 3
    first = rows_of(lake.lake)
    assert all(None not in row for row in first)
    redo(lake)
    assert [row[-2] is None for row in rows_of(lake.lake)] == [row[0] == "ash" for row in first]
    analyses.refresh(lake.lake, NAMES)
    second = rows_of(lake.lake)
    assert [row[:2] for row in second] == [row[:2] for row in first], "one row each, although two analyses of the pair are in the lake"
    assert all(None not in row for row in second)
    assert [row for row in second if row[0] == "birch"] == [row for row in first if row[0] == "birch"]
    assert rows_of is flips or [row[key:] for row in second if row[0] == "ash"] != [row[key:] for row in first if row[0] == "ash"]


def test_certainty_of_a_correlation_takes_the_draws_of_current_analyses_only(lake):
    query = "select family_a, family_b, alignment, resamples from rfc_correlation_certainty order by all"
    first = Warehouse(lake.lake).select(query).rows()
    assert {row[3] for row in first} == {2000}
    redo(lake)
    assert Warehouse(lake.lake).select(query).rows() == []
    analyses.refresh(lake.lake, NAMES)
    assert Warehouse(lake.lake).select(query).rows() == first


def test_feature_tests_of_activations_that_were_read_again_are_not_shown_beside_the_new_ones(tmp_path):
    lake = Lake.open(tmp_path)
    first = features.build_repeated(lake, {"q0": 0.0, "q1": 2.0, "q2": 5.0})
    analyses.refresh(lake, ["feature-tests"])
    assert features.build_repeated(lake, {"q0": 0.0, "q1": 2.0, "q2": 4.0}) == first
    for view in ("feature_test_summary", "feature_differences"):
        assert Warehouse(lake).select(f"select count(*) from {view}").item() == 0
    (renewed,) = analyses.refresh(lake, ["feature-tests"])
    for view in ("feature_test_summary", "feature_differences"):
        assert Warehouse(lake).select(f"select distinct run_id from {view}").rows() == [(renewed,)]


@pytest.mark.parametrize("name", [name for name, view in views().items() if view.reads & RESULTS])
def test_every_view_of_computed_figures_asks_whether_they_stand(name):
    assert "analysis_standing" in views()[name].reads


@pytest.fixture(scope="module")
def why_missing():
    with duckdb.connect() as connection:
        connection.execute((SQL_FOLDER / "macros" / "standing.sql").read_text())
        yield lambda *values: connection.execute(f"select why_missing({', '.join('?' * len(values))})", list(values)).fetchall()[0][0]


def test_the_first_reason_why_a_figure_is_missing_is_told(why_missing):
    """Every combination of what may be known: a reason further down never hides one above it, and nothing is missing only where nothing is amiss."""
    for n_clusters, is_computed, is_valid, varies in itertools.product((None, 0, 1, 2, 8), (False, True), (None, False, True), (False, True)):
        amiss = {
            "questions unknown": n_clusters is None,
            "one question": n_clusters in (0, 1),
            "not computed": not is_computed,
            "outdated": not is_valid,
            "no variation": not varies,
        }
        assert why_missing(n_clusters, is_computed, is_valid, varies) == next((reason for reason, applies in amiss.items() if applies), None)
    assert why_missing(8, True, True) is None


def test_what_all_runs_need_is_asked_once_a_connection():
    with duckdb.connect() as connection:
        ask_once(connection, "asked", "select 1 as a")
        ask_once(connection, "asked", "select error('asked again')")
        assert connection.execute("from asked").fetchall() == [(1,)]
