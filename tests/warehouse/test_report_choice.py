"""Which figures stand in a report, by a rule on a lake whose effects are known; the reports of a lake, their list, and how the app hands them out."""

import re
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from personascope.app_pages.serving import reports as served
from personascope.warehouse import analyses
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.asking.source import WarehouseSource
from personascope.warehouse.asking.views import views
from personascope.warehouse.claims.reading import Claim
from personascope.warehouse.drawing import charts
from personascope.warehouse.drawing.charts import Drawing
from personascope.warehouse.drawing.figures import figures
from personascope.warehouse.drawing.report import choosing, html
from personascope.warehouse.drawing.report.choosing import MOST, MOST_REFUSED, RULE, Candidate, asks, choose
from personascope.warehouse.drawing.report.document import Document, Picture, Section
from personascope.warehouse.drawing.report.folder import write_report
from personascope.warehouse.drawing.report.shelf import INDEX, lake_state, reports
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.schema import tables

planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).resolve().parent.parent / "sql" / "planted_features.py")))
N_RUNS, FEW = 5, 3  # fewer figures than a report takes: each is drawn in three formats
STUDY = """name: mine
title: Mine
about: Projections of known size.
headline: select run_id as run, round(projection, 1) as projection from feature_projections order by projection desc
views: [feature_projections]
figures: [feature_projections]
pages: [features]
"""
CLAIMS = """claims:
  - id: three
    statement: three questions were asked
    source: here
    query: select n from feature_projections where n = 3 and stratum in ('answer_mean', 'last') limit 1
    expected: 3
"""


@pytest.fixture(scope="module")
def lake(tmp_path_factory) -> Lake:
    """Runs whose projection is -(1 + place); the smallest has three questions, which the study's claim asks for."""
    lake = Lake.open(tmp_path_factory.mktemp("reports") / "lake")
    for place in range(N_RUNS):
        questions = {f"q{number}": 10.0 * place for number in range(3 if place == 0 else 2)}
        planted.build_repeated(lake, questions, tag=f"{place}")
    return lake


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("study")
    (folder / "mine.yaml").write_text(STUDY)
    (folder / "mine.claims.yaml").write_text(CLAIMS)
    return str(folder / "mine.yaml")


def largest(picture: Picture) -> float:
    return round(max(abs(value) for value in picture.drawing.rows["projection"]), 3)


@pytest.fixture(scope="module")
def written(lake, study) -> Document:
    """The report among those of the lake."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(choosing, "MOST", FEW)
        return write_report(lake, study)


@pytest.mark.slow(8)
def test_the_largest_effects_and_the_claims_figure_stand_in_the_report_and_the_rest_beside_it(lake, written):
    document = written
    assert sorted(map(largest, document.pictures())) == [1.0, 4.0, 5.0] and len(document.pictures()) == FEW
    assert sorted(map(largest, document.others())) == [2.0, 3.0]
    folder = lake.root / "reports" / "mine"
    page, text = ((folder / name).read_text(encoding="utf-8") for name in ("report.html", "report.md"))
    assert page.count("<img") == FEW and len(page.encode()) < 5_000_000
    for words in (page, text):
        assert "2 more figures in the folder more" in words and RULE[:40] in words
        linked = re.findall(r'(?:href="|\]\()((?:more|figures)/[^")]+)', words)
        assert {f"more/{each.stem}.svg" for each in document.others()} <= set(linked) and all((folder / link).is_file() for link in linked)
    assert page.index('class="sentence"') < page.index("<nav>")
    assert document.sentence.endswith(": the first of 5 rows of its headline.") and "projection -1" in document.sentence


@pytest.mark.slow(6)
def test_reports_of_a_lake_are_listed_and_know_the_lake_they_were_written_from(lake, written, tmp_path):
    plain = tmp_path / "plain.yaml"
    plain.write_text("name: plain\ntitle: Plain\nabout: Nothing drawn.\nviews: [lake_state]\n")
    write_report(lake, str(plain), tmp_path / "elsewhere")
    assert "index.html" in (lake.root / "reports" / "mine" / "report.html").read_text()
    assert "index.html" not in (tmp_path / "elsewhere" / "report.html").read_text()
    found = reports(lake)
    assert list(found) == ["mine"] and (found["mine"].n_figures, found["mine"].n_more, found["mine"].n_runs) == (FEW, 2, N_RUNS)
    assert found["mine"].lake_state == lake_state(lake)
    listed = (lake.root / "reports" / INDEX).read_text(encoding="utf-8")
    assert 'href="mine/report.html"' in listed and "3 figures and 2 beside it; the lake held 5 runs" in listed
    (lake.root / "reports" / "strange").symlink_to(tmp_path / "elsewhere")
    (lake.root / "reports" / "broken").mkdir()
    (lake.root / "reports" / "broken" / "report.json").write_text("{")
    assert list(reports(lake)) == ["mine"]


def test_a_folder_of_reports_that_leads_out_of_the_lake_is_refused(study, tmp_path):
    lake = Lake.open(tmp_path / "lake")
    (lake.root / "reports").symlink_to(tmp_path)
    with pytest.raises(PersonascopeError, match="is a link, or no folder; expected a folder of the lake itself"):
        write_report(lake, study)
    assert {path.name for path in tmp_path.iterdir()} == {"lake"}


def test_the_app_hands_out_reports_that_may_run_nothing_and_nothing_else(tmp_path, monkeypatch):
    folder = tmp_path / "lake" / "reports" / "mine"
    (folder / "figures").mkdir(parents=True)
    (tmp_path / "lake" / "runs").mkdir()
    (folder / "report.html").write_text("<html><body><script>1</script></body></html>")
    (folder / "report.json").write_text('{"study": "mine", "title": "t", "pages": ["features", "elsewhere"], "n_runs": 1, "lake_state": "x"}')
    (folder / "figures" / "a.svg").write_text("<svg/>")
    (folder / "figures" / "b.svg").symlink_to(folder / "figures" / "a.svg")
    (tmp_path / "lake" / "secret.md").write_text("secret")
    monkeypatch.setenv("PERSONASCOPE_LAKE", str(tmp_path / "lake"))
    client = TestClient(Starlette(routes=served.routes()))
    answer = client.get(served.address("mine"))
    assert answer.status_code == 200 and answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert (
        answer.text.index('<a href="/overview">') < answer.text.index('<a href="/features">') < answer.text.index("<script>")
        and "/elsewhere" not in answer.text
    )
    assert client.get("/reports/mine/figures/a.svg").headers["content-security-policy"] == served.POLICY
    for path in (
        "mine/figures/b.svg",
        "mine/report.json",
        "../secret.md",
        "mine/..%2f..%2fsecret.md",
        "%2e%2e/report.md",
        "mine/figures/",
        "",
        "none/report.html",
    ):
        answer = client.get(f"/reports/{path}")
        assert answer.status_code == 404 and "secret" not in answer.text, path


def drawn(effect: float, refused: bool = False, **columns: object) -> Drawing:
    rows = pl.DataFrame(
        {"label": ["a", "b"], "effect": [effect, -effect / 2], "refused": [refused] * 2} | {name: [value] * 2 for name, value in columns.items()}
    )
    return Drawing("f", "F", (), 100, charts.bars(rows, "effect", "effect"))


def candidate(kind: str, effect: float, refused: bool = False, **columns: object) -> Candidate:
    return Candidate(kind, drawn(effect, refused, **columns), frozenset({kind}), (pl.col("absent").max(), pl.col("effect").abs().max()))


def test_the_rule_takes_each_kind_then_refused_tests_then_claims_then_effects():
    found = [candidate("a", float(size), layer=size) for size in range(20)]
    found += [candidate("b", -30.0), candidate("b", 1.0, True), candidate("b", 2.0, True), candidate("b", 3.0, True), candidate("b", 4.0, True)]
    queries = [f"select 1 from a where a.layer = {layer}" for layer in (3, 3, 5)]
    claims = [Claim(id=f"c{number}", statement="s", source="s", query=query, expected=True) for number, query in enumerate(queries)]
    chosen = choose(found, claims, {})
    assert len(chosen) == MOST and chosen == sorted(chosen)
    refused = [place for place in chosen if found[place].is_refused]
    assert {22, 23, 24} < set(refused) and MOST_REFUSED == 3
    assert set(chosen) - {22, 23, 24} == {19, 20, 3, 5, 18, 17, 16, 15, 21}, "largest of each kind, claims, then the kinds in turn by effect"
    assert choose(found[:5], [], {}) == [0, 1, 2, 3, 4] and choose([], [], {}) == []


def test_what_a_query_asks_is_read_from_its_tree():
    asked = asks("with x as (select * from rfc_diff where layer = 3 and family in ('a', 'b') and 2.50 = p) select 1 from x where layer is not distinct from 4")
    assert asked.views == {"rfc_diff", "x"}
    assert asked.values == {"layer": {"3", "4"}, "family": {"a", "b"}, "p": {"2.5"}}
    assert asks("no sql").views == frozenset()


def test_every_figure_says_which_views_it_shows_and_how_large_what_it_draws_is():
    for name, module in figures().items():
        assert set(module.SHOWS) <= {*views(), *tables()} and module.SIZES and all(isinstance(each, pl.Expr) for each in module.SIZES), name
        source = Path(sys.modules[module.__name__].__file__ or "").read_text()
        assert any(len(re.findall(rf"\b{view}\b", source)) > 1 for view in module.SHOWS), name


@pytest.mark.slow(6)
def test_a_refused_test_is_drawn_and_says_why(tmp_path):
    lake = Lake.open(tmp_path / "lake")
    planted.build(lake)
    analyses.refresh(lake, ["feature-tests"])
    found = figures()["feature_effects"].draw(WarehouseSource(Warehouse(lake)), "mine")
    refused = [each for each in found if Candidate("feature_effects", each, frozenset(), figures()["feature_effects"].SIZES).is_refused]
    assert len(found) == 2 and len(refused) == 1 and "last token of the system block" in " ".join(refused[0].facts)
    assert refused[0].facts[0].startswith("the test was refused: ") and refused[0].title.startswith("Differences that could not be tested")
    assert "not recorded" not in " ".join(refused[0].facts), "what was not tested has no number of significant features"
    (tested,) = [each for each in found if each is not refused[0]]
    n_maxt, n_tested, n_published = Warehouse(lake).select("select n_maxt, n_tested, n_published from feature_test_summary where not refused").row(0)
    said = f"{n_maxt} of {n_tested} beyond chance by the paired test (maxt_p at most 0.05), by the unpaired rule drawn here {n_published}"
    assert said in " ".join(tested.facts)


@pytest.mark.slow(6)
def test_a_projection_is_drawn_with_the_range_of_random_directions(tmp_path):
    lake = Lake.open(tmp_path / "lake")
    planted.build(lake)
    found = figures()["feature_projections"].draw(WarehouseSource(Warehouse(lake)), "mine")
    low, high = Warehouse(lake).select("select null_low, null_high from feature_projections where stratum = 'last' order by projection desc").row(0)
    assert any(f"95% of them {low:+.3g} to {high:+.3g}" in " ".join(each.facts) for each in found)


@pytest.mark.slow(2)
def test_a_picture_that_would_make_the_page_too_large_is_named_instead(monkeypatch):
    pictures = (Picture(drawn(1.0), "one"), Picture(drawn(2.0), "two"))
    document = Document("T", "a", (Section("Figures", pictures),), "s")
    whole = html.html(document)
    assert whole.count("<img") == 2
    monkeypatch.setattr(html, "LARGEST", len(whole.encode()) - 1)
    cut = html.html(document)
    assert cut.count("<img") == 1 and len(cut.encode()) < len(whole.encode()) and 'href="figures/two.png"' in cut
