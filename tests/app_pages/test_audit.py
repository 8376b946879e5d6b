"""The audit page, and the findings beside the pages they concern."""

import runpy
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest

from personascope.app_pages.shared import findings as shown
from personascope.warehouse.asking.audit import collect
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import RunSpec

pytestmark = pytest.mark.slow(15)

planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).resolve().parent.parent / "sql" / "planted_studies.py")))


@pytest.fixture(scope="module")
def findings(synthetic_lake):
    """What the audit finds in the synthetic lake."""
    rows = collect(Warehouse(Lake(synthetic_lake)).select)
    assert rows.height > 2 and rows["severity"].n_unique() > 1
    return rows


def test_the_page_shows_every_finding_with_its_query_to_copy_and_to_open(open_page, synthetic_lake, findings, linked_queries):
    page = open_page(synthetic_lake, "audit")
    assert [each.value for each in page.main.code] == linked_queries(page) == findings["evidence"].to_list()
    counts = {each.label: int(each.value) for each in page.metric}
    assert counts == {f"{severity.capitalize()}s": (findings["severity"] == severity).sum() for severity in ("error", "warning", "note")}


def test_checks_that_take_long_are_told_one_by_one(monkeypatch):
    said = MagicMock()
    monkeypatch.setattr(shown, "st", said)
    for soon, expected in ((60.0, []), (-1.0, ["Audit: check 1 of 2, settings differ", "Audit: check 2 of 2, greedy repeats"])):
        monkeypatch.setattr(shown, "SOON", soon)
        place = said.empty.return_value = MagicMock()
        assert list(shown.told(["settings_differ", "greedy_repeats"])) == ["settings_differ", "greedy_repeats"]
        assert [call.args[1] for call in place.progress.call_args_list] == expected
        place.empty.assert_called_once_with()


def test_the_filters_are_in_the_address(open_page, synthetic_lake, findings):
    severity, check = findings["severity"][-1], findings["check"][-1]
    page = open_page(synthetic_lake, "audit", severity=severity, check=check)
    assert page.query_params == {"severity": severity, "check": check.replace("_", " ")}
    kept = findings.filter((findings["severity"] == severity) & (findings["check"] == check))
    assert [each.value for each in page.main.code] == kept["evidence"].to_list()
    page = open_page(synthetic_lake, "audit", about="no such subject")
    assert "No finding passes" in page.info[0].value and not page.main.code
    assert page.query_params == {"about": "no such subject"}


def test_a_lake_without_findings_says_so(open_page, tmp_path):
    lake = Lake.open(tmp_path / "lake")
    writer = lake.start(RunSpec(kind="ingest", extractor="prompts", version=1, identity={"file": "a"}), force=True)
    writer.write_part("all", {"examples": [{"prompt_set": "p", "example_id": "a/q", "persona": "a", "question_id": "q", "question": "Why?"}]})
    writer.commit()
    page = open_page(lake.root, "audit")
    assert "nothing" in page.success[0].value and not page.main.code


@pytest.mark.parametrize(("name", "fault"), [("completions", "truncated"), ("marker_attention", "no_base")])
def test_findings_stand_beside_the_page_they_concern(open_page, tmp_path, name, fault):
    lake = Lake.open(tmp_path / "lake")
    planted.study(lake, "villain", **{fault: True})
    expected = collect(Warehouse(lake).select, name)["evidence"].to_list()
    (beside,) = [each for each in open_page(lake.root, name).expander if each.label.startswith("Audit: 1 warning")]
    assert [each.value for each in beside.code] == expected and len(expected) == 1
