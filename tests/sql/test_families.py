"""Picked layers and heads: the adjusted p of the views is that of plain resampling over the family, and stands only while its data do."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import duckdb
import numpy as np
import pytest

from personascope.warehouse import analyses
from personascope.warehouse.analyses.bootstrap_t import bootstrap_t, two_sample_bootstrap_t
from personascope.warehouse.analyses.families import RESAMPLES, SEED
from personascope.warehouse.analyses.resampling import max_t
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.asking.views import macros
from personascope.warehouse.store.lake import Lake

NAMES = ["marker-families", "head-families", "lens-families", "patch-families"]


def planted(name: str) -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name(f"{name}.py"))))


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> SimpleNamespace:
    lake = Lake.open(tmp_path_factory.mktemp("families"))
    planted("planted_circuits").build(lake)
    planted("planted_studies").study(lake, "villain", noisy=True)
    before = Warehouse(lake).select("select count(adjusted_p) from attention_effects").item()
    analyses.refresh(lake, NAMES)
    return SimpleNamespace(lake=lake, warehouse=Warehouse(lake), before=before)


def by_question(rows) -> tuple[np.ndarray, np.ndarray]:
    """Totals [questions, members] and sizes [questions] of rows (member, question, n, total) in order."""
    n_questions = rows["question_id"].n_unique()
    return rows["total"].to_numpy().reshape(-1, n_questions).T, rows["n"].to_numpy()[:n_questions].astype(float)


@pytest.mark.slow(4)
def test_layers_against_a_control_are_one_family(world):
    assert world.before == 0
    for control in ("C1", "C3"):
        sums = world.warehouse.select(
            "select layer, question_id, count(*) as n, sum(delta) as total from attention_delta where subject = 'villain' and control = $control "
            "group by all order by all",
            {"control": control},
        )
        totals, sizes = by_question(sums)
        found = world.warehouse.select(
            "select adjusted_p, bootstrap_t_adjusted_p from attention_effects where subject = 'villain' and control = $control order by layer",
            {"control": control},
        )
        assert found["adjusted_p"].to_list() == pytest.approx(max_t(totals, sizes, RESAMPLES, SEED).adjusted_p)
        assert found["bootstrap_t_adjusted_p"].to_list() == pytest.approx(bootstrap_t(totals, sizes, RESAMPLES, SEED).adjusted_p, abs=2e-3)
    rows = world.warehouse.select(
        "select r.estimate_adjusted_p as mine, e.adjusted_p as theirs from ruleouts as r "
        "join attention_effects as e using (run_id, subject, control, layer) where control = 'C3'"
    )
    assert rows["mine"].to_list() == rows["theirs"].to_list() and rows["mine"].null_count() == 0
    gates = world.warehouse.select(
        "select count(*) filter (g.adjusted_p is not distinct from e.adjusted_p) = count(*) from attention_gates as g "
        "join attention_effects as e using (run_id, subject, layer) where control = 'C1'"
    )
    assert gates.item()


def test_ends_of_other_answers_are_two_samples(world):
    rows = world.warehouse.select(
        "select layer, question_id, n_markers, marker_total, n_ends, end_total from end_of_answer_questions where subject = 'villain' order by all"
    )
    columns = [rows[name].to_numpy().reshape(-1, rows["question_id"].n_unique()).T for name in ("marker_total", "n_markers", "end_total", "n_ends")]
    expected = two_sample_bootstrap_t(columns[0], columns[1][:, 0].astype(float), columns[2], columns[3][:, 0].astype(float), RESAMPLES, SEED).adjusted_p
    found = world.warehouse.select("select estimate_adjusted_p from ruleouts where subject = 'villain' and control = 'C4' order by layer")
    assert found["estimate_adjusted_p"].to_list() == pytest.approx(expected)


def test_two_samples_equal_brute_force():
    """Draw by draw with the statistic of end_of_answer_contrast, means less the observed ones."""
    generator = np.random.default_rng(0)
    sizes = generator.integers(0, 4, (2, 9)).astype(float)
    totals = sizes[..., None] * generator.normal(size=(2, 9, 3))
    observed = totals.sum(axis=1) / sizes.sum(axis=1, keepdims=True)

    def t(clusters, centres):
        means, residuals = [], []
        for total, size, centre in zip(totals[:, clusters], sizes[:, clusters], centres, strict=True):
            left, present = total - size[:, None] * centre, (size > 0).sum()
            means.append(left.sum(axis=0) / size.sum())
            residuals.append((left - size[:, None] * means[-1]) / size.sum() * np.sqrt(present / (present - 1)))
        return np.nan_to_num(np.abs(means[0] - means[1]) / np.sqrt(((residuals[0] - residuals[1]) ** 2).sum(axis=0)), nan=np.inf)

    seen = t(np.arange(9), np.zeros((2, 1)))
    with np.errstate(all="ignore"):
        drawn = np.array([t(clusters, observed) for clusters in np.random.default_rng(0).integers(0, 9, (800, 9))])
    test = two_sample_bootstrap_t(totals[0], sizes[0], totals[1], sizes[1], 800, 0)
    assert test.p == pytest.approx(((drawn >= seen).sum(axis=0) + 1) / 801)
    assert test.adjusted_p == pytest.approx(((drawn.max(axis=1)[:, None] >= seen).sum(axis=0) + 1) / 801)


def test_heads_of_a_measure_are_one_family_and_head_effects_shows_them(world):
    worths = "select layer, head, question_id, count(*) as n, sum(worth) as total from head_examples where measure = 'mean' group by all order by all"
    totals, sizes = by_question(world.warehouse.select(worths))
    found = world.warehouse.select("select adjusted_p, shrunken from head_worths where measure = 'mean' and prompt_form = 'all' order by layer, head")
    expected = max_t(totals, sizes, RESAMPLES, SEED).adjusted_p
    assert found["adjusted_p"].to_list() == [None if np.isnan(p) else pytest.approx(p) for p in expected]
    wide = world.warehouse.select(
        "select mean_adjusted_p, -mean_shrunken as shrunken, heads.task_zero_adjusted_p is not distinct from zero_adjusted_p as same "
        "from head_effects join heads using (checkpoint, layer, head) where prompt_form = 'all' and stratum = 'last' order by layer, head"
    )
    assert wide["mean_adjusted_p"].to_list() == found["adjusted_p"].to_list() and wide["shrunken"].to_list() == pytest.approx(found["shrunken"].to_list())
    assert wide["same"].all()


def test_places_of_a_patch_and_layers_of_the_lens_are_families(world):
    assert world.warehouse.select("select count(*) = count(log_prob_change_adjusted_p) from patch_effects").item()
    lens = world.warehouse.select("select n_clusters, prob_adjusted_p, logit_adjusted_p from marker_lens where base_run is not null")
    assert lens.height and lens.null_count().row(0) == (0, 0, 0) and (lens["prob_adjusted_p"] >= 0.25).all(), "three questions have four flips"


def test_shrinkage_is_that_of_plain_recomputation():
    estimates, sems = np.array([1.0, 2.0, 6.0, -1.0]), np.array([0.5, 1.0, 1.5, 0.0])
    spread = max(0, estimates.var(ddof=1) - (sems**2).mean())
    with duckdb.connect() as connection:
        connection.execute(macros())
        rows = connection.sql(f"""
            with rows as (select unnest({estimates.tolist()}) as x, unnest({sems.tolist()}) as sem union all select 3, null),
            families as (select *, family_centre(x, 1) as centre, family_spread(x, sem, 1) as spread from rows where sem is not null)
            select shrunken(x, sem, centre, spread), shrunken(x, null, centre, spread), shrunken(x, 0, centre, 0.0) from families
        """).fetchall()
    assert [row[0] for row in rows] == pytest.approx((2 + spread / (spread + sems**2) * (estimates - 2)).tolist())
    assert {row[1] for row in rows} == {None} and [row[2] for row in rows] == estimates.tolist()
