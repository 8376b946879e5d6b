"""`analyse` computes what runs made by hand lack, and `sql` says of an empty answer that it has to be computed first."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.store.lake import Lake

pytestmark = pytest.mark.slow(8)

planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).resolve().parent.parent / "sql" / "planted_features.py")))
ASKED = "select layer, stratum, n_tested from feature_test_summary"


@pytest.fixture
def lake(tmp_path) -> Lake:
    found = Lake.open(tmp_path / "lake")
    planted.build(found)
    return found


def test_an_answer_that_waits_for_an_analysis_says_which_and_the_command_computes_it(lake, personascope):
    code, out, err = personascope("sql", ASKED, "--lake", lake.root)
    assert code == 0 and out.split() == ["layer,stratum,n_tested"]
    assert f"not computed yet: feature-tests; next: personascope analyse feature-tests --lake {lake.root}" in err
    code, out, err = personascope("analyse", "feature-tests", "--lake", lake.root)
    written = Warehouse(lake).select("select distinct run_id from analyses where status = 'current' order by 1")["run_id"].to_list()
    assert code == 0 and sorted(out.split()) == written and written and f"{len(written)} computed" in err
    code, out, err = personascope("sql", ASKED, "--lake", lake.root)
    assert code == 0 and len(out.split()) > 1 and "computed" not in err
    code, out, err = personascope("sql", f"{ASKED} where layer = 99", "--lake", lake.root)
    assert code == 0 and "computed" not in err
    code, out, err = personascope("analyse", "feature-tests", "--lake", lake.root)
    assert (code, out) == (0, "") and "nothing to compute" in err


def test_a_run_that_was_redone_is_analysed_anew_without_a_name_all_are(lake, personascope):
    code, out, _ = personascope("analyse", "--lake", lake.root)
    before = set(out.split())
    assert code == 0 and len({each.rsplit("-", 1)[0] for each in before}) > 1
    redone = Warehouse(lake).select("select input_run from analyses where extractor = 'feature-tests' limit 1").item()
    lake.delete(redone)
    planted.build(lake)
    standing = Warehouse(lake).select(f"select status from analyses where input_run = '{redone}' and extractor = 'feature-tests'")
    assert standing["status"].to_list() == ["outdated"]
    code, out, _ = personascope("analyse", "--lake", lake.root)
    assert code == 0 and set(out.split()) == before
    assert Warehouse(lake).select("select count(*) from analyses where status <> 'current'").item() == 0


def test_an_analysis_of_another_name_is_refused(lake, personascope):
    code, _, err = personascope("analyse", "feature-test", "--lake", lake.root)
    assert code == 1 and "analysis 'feature-test' is unknown; did you mean 'feature-tests'?" in err


def test_an_answer_that_no_analysis_is_behind_has_no_note(lake, personascope):
    code, _, err = personascope("sql", "from marker_rates", "--lake", lake.root)
    assert (code, err) == (0, "")
