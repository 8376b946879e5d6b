"""The notebook door: frames and charts of a lake without anything heavy, filters that choose, and sentences where nothing fits."""

import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import altair as alt
import polars as pl
import pytest

from personascope import open_lake
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.asking.source import WarehouseSource
from personascope.warehouse.asking.views import ROOMS
from personascope.warehouse.drawing.figures import figure, figures
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.notebook import Charts, OpenLake
from personascope.warehouse.store.lake import Lake

pytestmark = pytest.mark.slow(15)

planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).resolve().parent.parent / "sql" / "planted.py")))


@pytest.fixture(scope="module")
def root(planted_lake) -> Path:
    return planted_lake.lake.root


@pytest.fixture(scope="module")
def lake(root) -> OpenLake:
    return open_lake(root)


def rows_of(chart: alt.TopLevelMixin) -> list[dict]:
    return chart.to_dict()["datasets"]["rows"]


def loaded_after(code: str, root: Path) -> set[str]:
    watched = ["polars", "duckdb", "altair", "torch", "transformers", "streamlit", "mlflow"]
    script = f"import sys\nroot = {str(root)!r}\n{code}\nprint(*[name for name in {watched} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_importing_the_package_loads_nothing_and_the_door_nothing_heavy(root):
    assert loaded_after("import personascope; personascope.__version__", root) == set()
    asked = "from personascope import open_lake\nopen_lake(root).figure('layer_curves', subject='comedian').to_dict()"
    assert loaded_after(asked, root) == {"polars", "duckdb", "altair"}


def test_the_package_has_no_other_surprises():
    import personascope

    with pytest.raises(AttributeError, match="no attribute 'open_lakes'"):
        personascope.open_lakes  # noqa: B018


def test_sql_gives_a_frame_and_takes_parameters(lake):
    found = lake.sql("select persona, k, n from marker_rates where checkpoint = $name and persona = $persona", name="villain", persona="villain")
    assert isinstance(found, pl.DataFrame)
    assert found["n"].to_list() == [planted.QUESTIONS * planted.SAMPLES]


def test_sql_reads_and_nothing_else(lake, tmp_path):
    with pytest.raises(PersonascopeError, match="exactly one SELECT"):
        lake.sql(f"copy runs to '{tmp_path / 'x.csv'}'")
    with pytest.raises(PersonascopeError, match="nowhere"):
        lake.sql("from nowhere")


def test_a_figure_is_the_drawing_of_the_report_with_its_rows_and_its_sample(lake, root):
    drawings = {each.name: each for each in figure("layer_curves").draw(WarehouseSource(Warehouse(Lake.existing(root))), "")}
    expected = drawings["layer curves comedian"]
    chart = lake.figure("layer_curves", subject="comedian").to_dict()
    assert chart["title"] == {"text": expected.title, "subtitle": list(expected.facts)}
    assert len(chart["datasets"]["rows"]) == planted.LAYERS
    assert [row["mean"] for row in chart["datasets"]["rows"]] == expected.rows["mean"].to_list()


def test_filters_choose_among_the_drawings(lake):
    every = lake.figure("layer_curves")
    assert isinstance(every, Charts) and len(every) == len(every.names) == 4
    assert repr(every).splitlines()[:2] == ["4 charts:", f"  [0] {every.names[0]}"]
    pair = lake.figure("layer_curves", subject="villain")
    assert {row["series"] for row in rows_of(pair)} == {"villain, own tokens", "base, tokens of villain"}
    assert lake.figure("layer_curves", subject=["comedian", "still"]).names == ["layer curves comedian", "layer curves still"]
    assert rows_of(lake.figure("layer_curves", drawing="layer curves still")) == rows_of(lake.figure("layer_curves", subject="still"))
    run = lake.sql("select run_id from subjects where subject = 'comedian'").item()
    assert rows_of(lake.figure("layer_curves", run_id=run[:-4])) == rows_of(lake.figure("layer_curves", subject="comedian"))
    assert len(rows_of(lake.figure("difference_of_differences", source_persona="villain"))) == planted.LAYERS


@pytest.mark.parametrize(
    ("name", "filters", "sentence"),
    [
        ("layer_curve", {}, "figure 'layer_curve' is unknown"),
        ("layer_curves", {"subjct": "still"}, "filter 'subjct' is unknown; did you mean 'subject'?"),
        ("layer_curves", {"colour": "red"}, "filter 'colour' is unknown; expected one of drawing, study"),
        ("layer_curves", {"subject": "pirate"}, "subject 'pirate' is in none of the drawings; expected one of base_villain, comedian, still, villain$"),
        ("layer_curves", {"subject": "still", "persona": "comedian"}, "persona 'comedian' is in none of the drawings; expected one of villain$"),
        ("layer_curves", {"family": "qwen9"}, "family 'qwen9' is in none of the drawings; their runs say no family"),
        ("task_accuracy", {}, "has nothing to draw; it needs predictions on prompts with a target: `personascope run echo`"),
    ],
)
def test_what_does_not_fit_is_said_in_a_sentence(name, filters, sentence, lake):
    with pytest.raises(PersonascopeError, match=sentence):
        lake.figure(name, **filters)


def test_figures_views_and_runs_are_listed(lake):
    assert lake.figures()["figure"].to_list() == list(figures())
    listed = lake.views()
    assert {"diff_of_diffs", "marker_rates", "attention"} <= set(listed["name"])
    assert listed.filter(name="diff_of_diffs")["question"].item() == ROOMS["attention"]
    columns = lake.views("marker_rates")
    assert columns.columns == ["column", "type", "meaning"] and columns["meaning"].str.len_chars().min() > 0
    with pytest.raises(PersonascopeError, match="view 'marker_rate' is unknown; did you mean 'marker_rates'"):
        lake.views("marker_rate")
    assert set(lake.runs()["extractor"]) == {"completions", "attention", "activations", "capability"}
    assert repr(lake) == f"lake {lake.lake.root}: {lake.runs().height} runs of 0 studies, {lake.runs()['n_rows'].sum():,} rows"


def test_a_run_committed_meanwhile_is_seen(tmp_path):
    found = Lake.open(tmp_path / "lake")
    lake = open_lake(found.root)
    assert lake.runs().is_empty()
    planted.write(found, planted.spec("capability", checkpoint="late"), capability=[{"task": "world@1", "question_id": "c1", "correct": True}])
    assert lake.runs()["checkpoint"].to_list() == ["late"]


def test_where_there_is_no_lake_a_sentence_says_so(tmp_path):
    with pytest.raises(PersonascopeError, match="no lake here"):
        open_lake(tmp_path / "none")
