"""The app as a whole: which pages there are, and one sentence instead of a traceback for a lake that is missing, empty or damaged."""

import gc
import shutil
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from personascope import app
from personascope.app_pages.shared.modules import settle
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import RunSpec

pytestmark = pytest.mark.slow(6)

ROOT = Path(app.__file__).parent


@pytest.fixture
def open_app(monkeypatch):
    def opened(lake: Path) -> AppTest:
        monkeypatch.setenv("PERSONASCOPE_LAKE", str(lake))
        found = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
        assert not found.exception, found.exception
        return found

    return opened


def test_every_folder_with_a_page_is_one_in_its_order():
    pages = app.page_modules()
    assert [page for page in pages if page in ("completions", "marker_attention", "overview")] == ["overview", "marker_attention", "completions"]
    assert set(pages) == {path.name for path in (ROOT / "app_pages").iterdir() if path.is_dir() and not path.name.startswith("_")} - {"serving", "shared"}


def test_no_folder_beside_the_app_turns_the_old_multipage_mode_on():
    assert not (ROOT / "pages").exists()


def test_the_app_opens_on_the_overview_and_says_which_lake_it_shows(open_app, synthetic_lake):
    found = open_app(synthetic_lake)
    assert [each.value for each in found.title] == ["Overview"]
    assert found.sidebar.code[0].value == str(synthetic_lake)
    assert "6 runs" in found.sidebar.caption[1].value


def test_what_is_imported_is_set_apart_from_garbage_once_a_page(open_app, synthetic_lake):
    settle.cache_clear()
    gc.unfreeze()
    open_app(synthetic_lake)
    apart = gc.get_freeze_count()
    assert apart > 10_000
    open_app(synthetic_lake)
    assert 0.9 * apart < gc.get_freeze_count() <= apart


def test_a_missing_lake_is_one_friendly_sentence_and_is_not_made(open_app, tmp_path):
    found = open_app(tmp_path / "nowhere")
    assert len(found.info) == 1 and not found.error and not found.title
    assert "no lake at" in found.info[0].value and "personascope demo" in found.info[0].value
    assert not (tmp_path / "nowhere").exists()


def test_an_empty_lake_is_one_friendly_sentence(open_app, tmp_path):
    found = open_app(Lake.open(tmp_path / "lake").root)
    assert len(found.info) == 1 and not found.error
    assert "holds no runs yet" in found.info[0].value


@pytest.mark.parametrize("damage", ["manifest", "parquet"])
def test_a_damaged_run_is_named_in_one_sentence(open_app, synthetic_lake, tmp_path, damage):
    lake = Lake(shutil.copytree(synthetic_lake, tmp_path / "lake"))
    run_id = next(run_id for run_id in lake.run_ids() if run_id.startswith("completions"))
    victim = lake.run_folder(run_id) / ("run.json" if damage == "manifest" else "completions.parquet")
    victim.write_bytes(victim.read_bytes()[:100])
    found = open_app(lake.root)
    said = found.sidebar.warning if damage == "manifest" else found.error
    assert len(said) == 1 and len(found.error) == (damage == "parquet")
    assert run_id.replace("-", "\\-") in said[0].value and ("is damaged" if damage == "manifest" else "personascope doctor") in said[0].value


def test_a_lake_of_another_kind_of_run_has_something_to_say_on_every_page(open_page, tmp_path):
    lake = Lake.open(tmp_path / "lake")
    writer = lake.start(RunSpec(kind="ingest", extractor="prompts", version=1, identity={"file": "a"}), force=True)
    writer.write_part("all", {"examples": [{"prompt_set": "p", "example_id": "a/q", "persona": "a", "question_id": "q", "question": "Why?"}]})
    writer.commit()
    assert "No completions and no attention" in open_page(lake.root, "overview").info[0].value
    assert "No attention has been read" in open_page(lake.root, "marker_attention").info[0].value
    assert "No completions in this lake" in open_page(lake.root, "completions").info[0].value


def test_a_new_run_shows_when_the_page_is_drawn_again(open_page, synthetic_lake, tmp_path):
    lake = Lake(shutil.copytree(synthetic_lake, tmp_path / "lake"))
    doomed = lake.run_ids()[-1]
    hidden = lake.run_folder(doomed).rename(tmp_path / "aside")
    page = open_page(lake.root, "overview")
    assert page.metric[0].value == "5"
    hidden.rename(lake.run_folder(doomed))
    assert page.run().metric[0].value == "6"
