"""The features page: similarity, paired tests and refusals, prompts and projections are those of the views."""

import runpy
from pathlib import Path

import lakes
import polars as pl
import pytest

from personascope.ingest.published import ingest_published
from personascope.warehouse import analyses
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.store.lake import Lake

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def features_lake(tmp_path_factory):
    """Planted features with their tests; do not write to it."""
    lake = Lake.open(tmp_path_factory.mktemp("features") / "lake")
    runpy.run_path(str(Path(__file__).parents[1] / "sql" / "planted_features.py"))["build"](lake)
    analyses.refresh(lake, ["feature-tests"])
    return lake.root


def test_features_that_wait_for_their_tests_are_told_from_none(open_page, tmp_path, tmp_path_factory):
    assert "No features have been compared" in open_page(lakes.pairs(tmp_path_factory).lake.root, "features").info[0].value
    lake = Lake.open(tmp_path / "lake")
    runpy.run_path(str(Path(__file__).parents[1] / "sql" / "planted_features.py"))["build"](lake)
    assert "`personascope analyse feature-tests` compares" in open_page(lake.root, "features").info[0].value


def test_a_tested_place_shows_size_certainty_prompts_and_directions(open_page, charts, features_lake):
    page = open_page(features_lake, "features", stratum="last")
    drawn, warehouse = charts(page), Warehouse(Lake.existing(features_lake))
    tested = warehouse.select("select feature, difference, maxt_p from feature_differences where origin = 'extracted' and stratum = 'last' order by feature")
    rows = drawn["empty minus generic: size and certainty"].rows.sort("feature")
    assert rows.select("feature", "difference", "maxt_p").rows() == tested.rows()
    assert "seed 42" in drawn["empty minus generic: size and certainty"].facts
    spans = drawn["empty minus generic: along named features"].rows
    expected = warehouse.select(
        "select projection, null_low, null_high from feature_projections where origin = 'extracted' and stratum = 'last' order by 1 desc"
    )
    assert spans.select("mean", "low", "high").rows() == expected.rows()
    assert "of 10 that do" in "\n".join(each.value for each in page.caption)
    assert not page.warning
    (reader,) = (each.value for each in page.selectbox if each.label == "Autoencoders")
    own = [each for title, each in drawn.items() if title.startswith(("empty minus", "Activations", "Layer", "Who is"))]
    assert len(own) >= 4 and all(reader in each.facts for each in own)
    activations = drawn["Activations of feature 3"].rows
    found = {(row["series"], row["step"]): (row["n"], row["share"]) for row in activations.iter_rows(named=True)}
    assert found["empty", 0] == found["generic", 0] == (0, 0.0), "it fires at every reading"
    assert found["empty", 6] == (5, 1.0) and found["generic", 20] == (1, 0.2), "0.5 and 1.9 in steps of 0.095"
    assert sum(n for (series, _), (n, _) in found.items() if series == "generic") == 5


def test_two_autoencoders_of_one_layer_are_told_apart_and_chosen_between(open_page, charts, features_lake, tmp_path):
    planted = runpy.run_path(str(Path(__file__).parents[1] / "sql" / "planted_features.py"))
    there, lake = Warehouse(Lake.existing(features_lake)), Lake.open(tmp_path / "lake")
    tables = {}
    for name in ("features", "feature_examples", "feature_directions", "sae"):
        rows = there.select(f"from {name}").drop("run_id")
        other = rows.with_columns(sae_id=pl.lit("tiny-2"), site=pl.lit("resid_mid"))
        if name == "features":
            other = other.filter(feature=3)  # the other one never fires in it
        tables[name] = pl.concat([rows, other]).to_dicts()
    run = planted["spec"]("features", checkpoint="villain", subject="villain", prompt_set="conditions@1")
    planted["write"](lake, run.model_copy(update={"constants": {"prompt_set": "conditions@1"}}), **tables)
    analyses.refresh(lake, ["feature-tests"])
    page = open_page(lake.root, "features", stratum="last")
    choice = next(each for each in page.selectbox if each.label == "Autoencoder of layer 1")
    assert sorted(choice.options) == ["tiny-1 · resid_post", "tiny-2 · resid_mid"]
    counted = {
        row["sae_id"]: (row["n_maxt"], row["n_tested"])
        for row in Warehouse(lake).select("from feature_test_summary where stratum = 'last'").iter_rows(named=True)
    }
    assert len(set(counted.values())) == 2
    said = next(each.value for each in page.markdown if "differ at the token" in each.value).replace("\\", "")
    for sae, site in (("tiny-1", "resid_post"), ("tiny-2", "resid_mid")):
        assert "**{} of {}** at layer 1 (autoencoder {}, {})".format(*counted[sae], sae, site) in said
        drawn = charts(choice.select(sae).run())["empty minus generic: size and certainty"]
        assert drawn.rows.height == counted[sae][1]
    (table,) = [each.value for each in page.dataframe if "n_maxt" in each.value]
    assert set(table["sae_id"]) == {"tiny-1", "tiny-2"}


def test_published_tables_are_drawn_where_nothing_was_extracted(open_page, charts, published, tmp_path):
    lake = Lake.open(tmp_path / "lake")
    assert not ingest_published(lake, [published / "sae_127_transcribed"]).failed
    drawn = charts(open_page(lake.root, "features"))
    rows = drawn["Features that differ most: qwen_default minus generic_assistant, layer 7"].rows
    expected = Warehouse(lake).select("select feature, effect from feature_differences where layer = 7 order by effect desc")
    assert rows.select("feature", "effect").rows() == expected.rows()
    assert any(title.endswith("along named features, layer 15") for title in drawn) and any(title.startswith("How alike the conditions are") for title in drawn)


def test_a_place_without_variation_says_that_no_test_was_made(open_page, charts, features_lake):
    page = open_page(features_lake, "features", stratum="last_system")
    assert "No test" in page.warning[0].value and "The differences themselves stand" in page.warning[0].value
    assert "empty minus generic: size and certainty" not in charts(page)


def test_a_place_where_nothing_fires_and_runs_of_one_autoencoder_can_be_told_apart(open_page, charts, features_lake, tmp_path):
    import shutil

    root = shutil.copytree(features_lake, tmp_path / "lake")
    lake = Lake.open(root)
    planted = runpy.run_path(str(Path(__file__).parents[1] / "sql" / "planted_features.py"))
    silent = [planted["build_repeated"](lake, {"q0": 0.0, "q1": 2.0}, lambda condition: False, tag) for tag in "ab"]
    analyses.refresh(lake, ["feature-tests"])
    page = open_page(root, "features")
    readers = next(each for each in page.selectbox if each.label == "Autoencoders")
    assert [reader.rpartition(" · ")[2] for reader in readers.options if reader.startswith("c ")] == sorted(silent)
    assert all("topk k " in reader for reader in readers.options)
    page = open_page(root, "features", autoencoder=readers.options[0])
    assert "no feature fires" in page.warning[0].value and not page.exception
