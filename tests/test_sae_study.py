"""The study of SAE features end to end: a tiny checkpoint, autoencoders trained on it, conditions compared, directions beside their null, and the report."""

import shutil
from typing import Any

import lakes
import polars as pl
import pytest

from personascope.study.options import RunOptions
from personascope.study.run import StudyRun
from personascope.warehouse.asking.doctor import examine
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.studies.reading import read_study

pytestmark = [pytest.mark.slow(60), pytest.mark.timeout(900)]
PLACES = {"last_system": (300, 3), "last": (400, 6)}  # activations of two layers (one condition has no system block), pairs of conditions
LAYERS = [1, 3]


@pytest.fixture(scope="module")
def lake(tmp_path_factory, tiny_cache):
    """The lake after the quick study on two layers; do not write to it."""
    folder = tmp_path_factory.mktemp("sae-study")
    lakes.tracking_store(tmp_path_factory, folder / "tracking.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERSONASCOPE_CACHE", tiny_cache)
        options = RunOptions(device="cpu", tracking_uri=f"sqlite:///{folder / 'tracking.db'}", settings={"layers": LAYERS})
        StudyRun(read_study("sae-conditions", "quick"), folder / "lake", options).run()
    return folder / "lake"


def answer(lake, query) -> Any:
    return Warehouse(Lake.existing(lake)).select(query)


def test_a_tiny_checkpoint_gets_good_autoencoders(lake):
    rows = answer(lake, "select distinct layer, explained_variance, dead_share, l0 from sae order by layer")
    assert rows["layer"].to_list() == LAYERS
    assert rows["explained_variance"].min() > 0.9 and rows["dead_share"].max() < 0.02 and rows["l0"].max() <= 16


def test_features_and_raw_activations_are_of_the_same_places(lake):
    for table, where in (("activations", "true"), ("feature_examples", "condition is not null")):
        rows = answer(lake, f"select stratum, count(*) as n from {table} where {where} group by stratum")
        assert dict(rows.rows()) == {stratum: n for stratum, (n, _) in PLACES.items()}, table
    cosines = answer(
        lake,
        """select max(abs(a.cosine - b.cosine)) as error, count(*) as n from condition_similarity as a
        join condition_similarity as b using (basis, layer, site, stratum, condition_a, condition_b)
        where basis = 'activations' and a.sae_id is null and b.sae_id is not null""",
    )
    assert cosines["n"].item() == 2 * (9 + 16) and cosines["error"].item() < 1e-5


def test_every_pair_is_tested_where_inputs_vary_and_refused_where_they_do_not(lake):
    rows = answer(lake, "select stratum, refused, count(*) as n, max(n_distinct) as inputs, sum(n_maxt) as found from feature_test_summary group by all")
    assert {row["stratum"]: (row["refused"], row["n"], row["inputs"]) for row in rows.to_dicts()} == {
        "last_system": (True, len(LAYERS) * PLACES["last_system"][1], 1),
        "last": (False, len(LAYERS) * PLACES["last"][1], 50),
    }
    assert rows.filter(pl.col("stratum") == "last")["found"].item() > 0  # a system prompt moves the last token


def test_directions_named_by_two_personas_stand_beside_random_ones(lake):
    rows = answer(lake, "select layer, condition_a, condition_b, count(*) as n, max(n_random) as n_random, min(p) as p from feature_projections group by all")
    assert set(rows["layer"]) == set(LAYERS) and set(rows["n"]) <= {10, 20} and rows["n_random"].min() > 100 and 0 < rows["p"].min() <= 1
    assert set(answer(lake, "select distinct description from feature_directions where kind = 'named'")["description"]) <= {"villain", "assistant"}
    sets = answer(lake, "select n_features, n_sets, set_p from feature_projection_summary")
    assert set(sets["n_features"]) == {10} and sets["n_sets"].min() >= 10 and sets["set_p"].is_between(0, 1).all()


def test_the_lake_is_sound_and_the_report_shows_the_study(lake, personascope, tmp_path):
    assert [finding for finding in examine(Lake.existing(lake)) if finding.level == "error"] == []
    code, _, err = personascope("report", "sae-conditions", "--lake", lake, "--output", tmp_path / "report")
    assert code == 0, err
    words = (tmp_path / "report" / "report.md").read_text()
    assert "condition" in words and "autoencoder_misses" not in words
    shutil.rmtree(tmp_path / "report")
