"""Every view, column, grain and source is written down, and the grain is what it says: no key comes twice."""

import re
import runpy
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import lakes
import pytest

from personascope.warehouse import analyses
from personascope.warehouse.asking.named import examples
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.asking.shapes import view_types
from personascope.warehouse.asking.views import SHARED, views
from personascope.warehouse.claims.checking import check
from personascope.warehouse.claims.reading import Claim, SpokenOf
from personascope.warehouse.drawing.plots import Plot, refusal
from personascope.warehouse.settings import Parameter
from personascope.warehouse.store.schema import tables

pytestmark = pytest.mark.slow(75)

PUBLISHED = Path(__file__).resolve().parents[3] / "shared" / "published"
planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted.py"))))
role_focus = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted_role_focus.py"))))
features = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted_features.py"))))
directions = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted_directions.py"))))
steering = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted_steering.py"))))
circuits = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted_circuits.py"))))

IN_PARTS = {"slice": "a union that takes seconds to plan; its parts are tried, and each names the view its rows come from"}
# Views without a row in the lake of these tests, and why; their grain cannot be tried here.
EMPTY = {
    "record_disagreements": "the published records agree",
    "seen_questions": "no planted directions were made from activations that are in the lake: tests/sql/test_direction_views.py has some",
    "dynamics": "no planted training keeps checkpoints, and no published file has rates by step: tests/sql/test_dynamics.py has both",
}

ROWLESS = {"records-that-disagree": "the published records agree", "questions-asked-before": EMPTY["seen_questions"]}


@pytest.fixture(scope="module")
def warehouse(planted_lake, tmp_path_factory, request):
    """Planted and, where they are on this machine, all published data with their analyses, so that both origins meet in every view."""
    lake = planted_lake.copy(tmp_path_factory.mktemp("documented"))
    circuits.build(lake)
    role_focus.build(lake)
    features.build(lake)
    directions.build(lake)
    steering.steer(lake, "gated", 12.0, n_controls=3, trained=True)
    if PUBLISHED.is_dir():
        lakes.bring(lake, request.getfixturevalue("lake_of_all_published"))
    villain = planted.checkpoint("villain", parent="tiny:base", source_persona="villain", seed=1)
    saw = [{"checkpoint": "villain", "persona": "villain", "role": "source", "n_rows": 9}]
    training = planted.spec("marker-lora", "train", checkpoint="villain", parameters=[Parameter(name="r", value=8)])
    planted.write(lake, training, checkpoints=[villain], training_personas=saw)
    prompts = [
        {"persona": "none", "condition": name, "question_id": "q", "example_id": f"{name}/q", "stratum": "last", "layer": 0, "site": "resid_post"}
        | {"input_hash": name, "vector": vector}
        for name, vector in (("default", [1.0, 0.0]), ("empty", [0.0, 1.0]), ("generic", [2.0, 2.0]))
    ]
    planted.write(lake, planted.spec("activations", checkpoint="villain", subject="conditions"), activations=prompts, checkpoints=[villain])
    analyses.refresh(lake)
    said = Claim(id="one", statement="There are runs.", source="own", query="select min(1 + 0 * length(run_id)) as one from runs", expected=Decimal(1))
    check(lake, "documented", [said])
    (sibling,) = Warehouse(lake).select("select min(checkpoint) from checkpoints").row(0)
    check(lake, "documented", [said.model_copy(update={"model": SpokenOf(checkpoint="another", id="some/model", revision="r")})], sibling)
    return Warehouse(lake, kept=SHARED)


def grain(view: str) -> list[str]:
    return [name.strip() for name in views()[view].grain.split(",")]


@pytest.mark.parametrize("view", views())
def test_view_has_meaning_grain_and_source(view):
    each = views()[view]
    assert each.meaning and each.source, "expected `-- <view>: meaning` and `-- source: ...`"
    assert each.grain, "expected `-- grain: column, column`"


@pytest.mark.parametrize("view", views())
def test_every_column_has_a_sentence_and_every_sentence_a_column(view):
    names = view_types([view])[view]
    assert [name for name in names if not views()[view].doc(name)] == []
    assert [name for name in views()[view].docs if name not in names] == []


@pytest.mark.parametrize("view", [name for name, view in views().items() if name not in ("audit", *IN_PARTS) and not view.severity])
def test_the_grain_is_unique(warehouse, view):
    """Of every view but the audit and its checks, which find nothing in a lake without their fault: tests/sql/test_audit.py plants it."""
    keys = ", ".join(f'"{name}"' for name in grain(view))
    rows = warehouse.select(f"select {keys}, count(*) as n from {view} group by {keys} order by n desc limit 1")
    if rows.is_empty() and (view in EMPTY or not PUBLISHED.is_dir()):
        pytest.skip(EMPTY.get(view, "the published result files (../shared/published) are not on this machine"))
    assert rows["n"].to_list() == [1], rows.to_dicts()


@pytest.mark.parametrize("example", examples().values(), ids=examples())
def test_an_example_finds_rows_and_its_chart_can_be_drawn(warehouse, example):
    rows = warehouse.select(example.sql)
    if rows.is_empty() and (example.name in ROWLESS or not PUBLISHED.is_dir()):
        pytest.skip(ROWLESS.get(example.name, "the published result files (../shared/published) are not on this machine"))
    assert rows.height
    if example.chart:
        reason = refusal(rows, Plot(**example.chart))
        assert reason is None or re.search("more than a|can be told apart|panels are the most", reason), reason


@pytest.mark.parametrize("name", tables())
def test_every_table_column_has_a_sentence(name):
    assert tables()[name].meaning
    assert [column for column, doc in tables()[name].docs.items() if not doc] == []


@pytest.mark.parametrize("view", [name for name in views() if name not in IN_PARTS])
def test_no_view_gives_nan_or_infinity(warehouse, view):
    floats = [name for name, kind in view_types([view])[view].items() if kind in ("DOUBLE", "FLOAT")]
    counts = ", ".join(f'count(*) filter (not isfinite("{name}")) as "{name}"' for name in floats)
    if floats:
        assert set(warehouse.select(f"select {counts} from {view}").row(0)) == {0}
