"""Closeness and leakage over pairs of personas: the p of the view is that of every permutation of personas, beside rows over several sources."""

import runpy
from itertools import combinations, permutations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from scipy import stats

from personascope.warehouse import analyses
from personascope.warehouse.analyses.dyads import dyad_test
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.settings import Parameter
from personascope.warehouse.store.lake import Lake

SOURCES, PERSONAS = ("ant", "bee", "cat"), ("ant", "bee", "cat", "dog", "elk", "fox", "gnu")


def points() -> pl.DataFrame:
    generator = np.random.default_rng(2)
    close, takes = generator.normal(size=(2, len(PERSONAS)))
    return pl.DataFrame(
        [
            {
                "source": source,
                "persona": persona,
                "cosine": float(np.tanh(close[at] + generator.normal())),
                "rate": float(np.tanh(1 + takes[at] + close[at]) / 2),
            }
            for source in SOURCES
            for at, persona in enumerate(PERSONAS)
            if persona != source
        ]
    )


def every_permutation(rows: pl.DataFrame) -> float:
    """Share of the arrangements, sources among sources and others among others, whose rank correlation is at least as far from 0."""
    rate = {(source, persona): value for source, persona, value in rows.select("source", "persona", "rate").rows()}
    pairs, others = rows.select("source", "persona").rows(), [name for name in PERSONAS if name not in SOURCES]
    found = []
    for own in permutations(SOURCES):
        for rest in permutations(others):
            to = dict(zip([*SOURCES, *others], [*own, *rest], strict=True))
            found.append(stats.spearmanr(rows["cosine"], [rate[to[source], to[persona]] for source, persona in pairs]).statistic)
    return float(np.mean(np.abs(found) >= abs(found[0]) - 1e-9))


def dyads_of(rows: pl.DataFrame, resamples: int, seed: int) -> dict[str, float | int]:
    found = dyad_test(rows, resamples, seed)
    assert found is not None
    return found


def test_drawn_permutations_are_those_of_every_arrangement_of_personas():
    rows = points()
    test = dyads_of(rows, 4000, 1)
    assert (test["n"], test["n_sources"], test["n_personas"]) == (18, 3, 7)
    assert test["rho"] == pytest.approx(stats.spearmanr(rows["cosine"], rows["rate"]).statistic)
    assert test["p"] == pytest.approx(every_permutation(rows), abs=0.03)


def test_personas_that_a_source_lacks_are_left_out():
    rows = points().filter(~((pl.col("source") == "ant") & pl.col("persona").is_in(["gnu"])))
    assert dyads_of(rows, 200, 1)["n_personas"] == 6 and dyads_of(rows, 200, 1)["n"] == 15
    lacking = points().filter(~((pl.col("source") == "ant") & (pl.col("persona") == "bee")))
    assert dyads_of(lacking, 200, 1)["n"] == 12, "sources as personas of one another"
    assert dyad_test(rows.with_columns(rate=pl.lit(0.0)), 200, 1) is None


@pytest.mark.slow(2)
def test_the_view_shows_it_where_sources_are_pooled(tmp_path):
    planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted_studies.py"))))
    lake = Lake.open(tmp_path)
    rows = points()
    planted.publish(lake, "cosines", published_cosines=[row | {"record": "leakage_cosines", "layer": 3, "category": None} for row in rows.to_dicts()])
    assert Warehouse(lake).select("select count(p_dyads) from leakage_cosine").item() == 0
    analyses.refresh(lake, ["dyads"])
    found = Warehouse(lake).select("select source, rho_personas, rho_dyads, p_dyads, n_dyads from leakage_cosine order by source nulls first")
    over, *single = found.rows(named=True)
    test = dyads_of(rows, 5000, 42)
    assert (over["source"], over["rho_dyads"], over["p_dyads"], over["n_dyads"]) == (None, pytest.approx(test["rho"]), pytest.approx(test["p"]), 18)
    assert over["rho_dyads"] == pytest.approx(over["rho_personas"]) and {row["p_dyads"] for row in single} == {None} and len(single) == 3


def test_the_newest_of_several_tests_of_the_same_cosines_is_read(tmp_path):
    """When more checkpoints were sampled the test is computed anew; the one over fewer still has all its inputs."""
    planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted_studies.py"))))
    lake = Lake.open(tmp_path)
    planted.publish(lake, "cosines", published_cosines=[row | {"record": "leakage_cosines", "layer": 3, "category": None} for row in points().to_dicts()])
    (first,) = analyses.refresh(lake, ["dyads"])
    made = lake.manifest(first)
    more = planted.publish(lake, "more", published_cosines=[])
    finished = Parameter(name=f"input_finished.{more}", value=lake.manifest(more).finished.replace(tzinfo=None).isoformat())
    again = planted.base.spec("dyads", "analysis", inputs=[*made.inputs, more]).model_copy(update={"parameters": [*made.parameters, finished]})
    (row,) = lake.read(first, "dyad_tests").to_pylist()
    newer = planted.base.write(lake, again, dyad_tests=[row | {"run_id": again.run_id, "p": 0.125}])
    asked = Warehouse(lake)
    assert asked.select("select run_id from analysis_standing where is_current order by place").to_series().to_list() == [newer, first]
    assert asked.select("select p_dyads from leakage_cosine where source is null").to_series().to_list() == [0.125]


def test_the_same_cosine_both_ways_is_a_tie(tmp_path):
    """The cosine of two sources stands in the pairs of both, and is off by the rounding of its sums."""
    planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted_studies.py"))))
    lake, generator = Lake.open(tmp_path), np.random.default_rng(4)
    cosine = {frozenset(pair): round(float(generator.uniform(-1, 1)), 3) for pair in combinations(PERSONAS, 2)}
    rows = points().with_columns(pl.Series("cosine", [cosine[frozenset(pair)] for pair in points().select("source", "persona").rows()]))
    noise = pl.Series([(-1) ** at * 1e-16 * at for at in range(rows.height)])
    noisy = rows.with_columns(pl.col("cosine") + noise)
    assert noisy["cosine"].n_unique() > rows["cosine"].n_unique()
    planted.publish(lake, "cosines", published_cosines=[row | {"record": "leakage_cosines", "layer": 3, "category": None} for row in noisy.to_dicts()])
    analyses.refresh(lake, ["dyads"])
    found = Warehouse(lake).select("select rho, rho_personas, rho_dyads from leakage_cosine where source is null").row(0)
    assert found == pytest.approx([stats.spearmanr(rows["cosine"], rows["rate"]).statistic] * 3, abs=1e-12)
