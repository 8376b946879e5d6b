"""The claims page: every verdict with its number and query, filters in the address, and what to type where verdicts are old or missing."""

import html
import shutil
from pathlib import Path

import pytest

from personascope.warehouse.claims.checking import check
from personascope.warehouse.claims.reading import Claim
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import RunSpec

pytestmark = pytest.mark.slow

HOSTILE = '<img src=x onerror="document.title=1"> **bold** [a](javascript:alert(1))'
RUNS = "select count(*) as runs_there from runs where extractor <> 'claims'"


def claim(name: str, **fields) -> Claim:
    return Claim.model_validate({"id": name, "statement": f"statement {name}", "source": "a paper", "query": RUNS} | fields)


CLAIMS = [
    claim("right", expected=6),
    claim("wrong", expected=7, statement=HOSTILE, query=RUNS.replace("from", f"$${HOSTILE}$$ as remark from").replace("there", "there,")),
    claim("near", expected=7, narrower={"scope": "half of them", "query": RUNS.replace("count(*)", "count(*) + 1")}),
    claim("unknown", expected=7, query="select null as nothing_there", needs="the other half"),
]


@pytest.fixture(scope="module")
def checked_lake(synthetic_lake, tmp_path_factory) -> Path:
    root = shutil.copytree(synthetic_lake, tmp_path_factory.mktemp("checked") / "lake")
    check(Lake(root), "study-a", CLAIMS)
    check(Lake(root), "study-b", [claim(f"c{number:02}", expected=6) for number in range(30)])
    return root


def cards(page) -> list[str]:
    return [each.proto.body for each in page.get("html") if "published" in each.proto.body]


def test_without_a_check_the_page_says_what_to_type(open_page, synthetic_lake):
    page = open_page(synthetic_lake, "claims")
    assert "personascope check" in page.info[0].value and not cards(page)


def test_every_claim_shows_verdict_number_detail_and_query(open_page, checked_lake, linked_queries):
    page = open_page(checked_lake, "claims", study="study-a")
    shown = cards(page)
    order = ["contradicted", "imprecise", "not derivable", "confirmed"]
    assert [next(word for word in order if f">{word}</span>" in card) for card in shown] == order
    wrong, near, unknown, right = shown
    assert "<b>7</b>" in wrong and "<b>6</b>" in wrong and "runs there" in wrong and "a paper · study-a · wrong" in wrong
    assert "true for half of them: 7" in near
    assert "<b>nothing</b>" in unknown and "missing: the other half" in unknown
    assert "<b>6</b>" in right and "detail" not in right
    assert [each.value for each in page.main.code] == linked_queries(page) == [CLAIMS[index].query for index in (1, 2, 3, 0)]
    assert not page.warning


def test_hostile_words_stay_words(open_page, checked_lake):
    wrong = cards(open_page(checked_lake, "claims", study="study-a", verdict="contradicted"))[0]
    assert "<img" not in wrong and wrong.count(html.escape(HOSTILE)) == 2


def test_filters_count_choose_and_stand_in_the_address(open_page, checked_lake):
    page = open_page(checked_lake, "claims", verdict="imprecise")
    assert len(cards(page)) == 1 and page.query_params["verdict"] == "imprecise"
    assert page.get("button_group")[0].options == ["all", "contradicted", "imprecise", "not derivable", "confirmed"]
    assert "34 claims: 1 contradicted, 1 imprecise, 1 not derivable, 31 confirmed" in [each.value for each in page.caption]
    page = page.selectbox(key="study").select("study-b").run()
    assert not cards(page) and "No claim has this verdict" in page.info[0].value


def test_many_claims_come_in_pages(open_page, checked_lake):
    assert len(cards(open_page(checked_lake, "claims"))) == 25
    assert len(cards(open_page(checked_lake, "claims", claims_page="2"))) == 9


def test_old_verdicts_are_called_old(open_page, checked_lake, tmp_path):
    root = shutil.copytree(checked_lake, tmp_path / "lake")
    lake = Lake(root)
    writer = lake.start(RunSpec(kind="ingest", extractor="checkpoint", version=1, identity={}), force=True)
    writer.write_part("0", {"checkpoints": [{"id": "new"}]})
    writer.commit()
    check(lake, "study-b", [claim("c00", expected=6)])
    words = open_page(root, "claims").warning[0].value
    assert "1 run more since. `personascope check study-a`" in words
    assert "study-b" not in words
