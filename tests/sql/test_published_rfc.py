"""The role-focus views: every expected number of the published study, and other families and depths against numpy and scipy."""

import itertools
import json
import math
from pathlib import Path
from typing import Any

import lakes
import numpy as np
import polars as pl
import pytest
from scipy import stats

from personascope.ingest.published import ingest_published
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.store.lake import Lake

pytestmark = pytest.mark.slow(15)

EXPECTED = Path(__file__).resolve().parents[3] / "shared" / "published" / "expected_dev.json"
STUDY = "rfc."

# The query of each case by the end of its name. One row of one column is the value; several rows of one column a list; several columns a list of lists.
# `?` is the family, the second part of the name.
OF_FAMILY = {
    "mean": "select mean from rfc_summary where family = ?",
    "std": "select std from rfc_summary where family = ?",
    "min": "select min from rfc_summary where family = ?",
    "max": "select max from rfc_summary where family = ?",
    "argmax_layer": "select max_layer from rfc_summary where family = ?",
    "n_positive": "select n_positive from rfc_summary where family = ?",
    "n_negative": "select n_negative from rfc_summary where family = ?",
    "significant_positive": "select n_above from rfc_summary where family = ?",
    "significant_negative": "select n_below from rfc_summary where family = ?",
    "near_zero": "select n_near_zero from rfc_summary where family = ?",
    "n_layers": "select n_layers from rfc_summary where family = ?",
    "median": "select median from rfc_summary where family = ?",
    "mean_without_max_layer": "select mean_without_max_layer from rfc_summary where family = ?",
    "n_heads": "select distinct n_heads from rfc_layer where family = ?",
    "n_layers_ci_excludes_zero": "select n_excludes_zero from rfc_summary where family = ?",
    "n_layers_rsi_ci_excludes_zero": "select n_rsi_excludes_zero from rfc_summary where family = ?",
    "ci_recompute_max_abs_error": "select max(ci_error) from rfc_diff where family = ?",
    "layers_abs_base_rfc_gt_1": "select layer from rfc_layer where family = ? and variant = 'base' and abs(rfc) > 1 order by layer",
}
OF_PAIR = {
    "pearson_r": "select pearson_r from {pair}",
    "pearson_p": "select pearson_p from {pair}",
    "spearman_r": "select spearman_r from {pair}",
    "spearman_p": "select spearman_p from {pair}",
    "leave_one_layer_out_r_range": "select unnest([loo_r_min, loo_r_max]) from {pair}",
    "leave_one_layer_out_max_p": "select loo_p_max from {pair}",
}
PAIR = "rfc_correlation where family_a = ? and family_b = ? and alignment = 'layer index'"
OF_CANDIDATES = {
    "ranking": "select layer, head from patching_candidates where family = ? order by rank_by_composite",
    "composite_max_abs_error": "select max(composite_error) from patching_candidates where family = ?",
    "mean_did_median": "select mean_did from patching_summary where family = ?",
    "std_did_median": "select std_did from patching_summary where family = ?",
    "mean_log_ratio_median": "select mean_did_log_ratio from patching_summary where family = ?",
    "std_log_ratio_median": "select std_did_log_ratio from patching_summary where family = ?",
    "mean_consistency": "select mean_consistency from patching_summary where family = ?",
    "mean_composite_score": "select mean_composite from patching_summary where family = ?",
    "consistency_as_counts_of_30": "select n_consistent from patching_candidates where family = ? order by rank",
    "direction_conflicts": "select layer, head from patching_candidates where family = ? and direction_conflict order by rank",
}
OF_STUDY = {
    "prompts.duplicates": "select category, prompt, indices from prompt_duplicates where n > 1",
    "prompts.cross_category_duplicates": "select distinct prompt from prompt_duplicates where n_categories > 1",
}

# A case whose value is an object: the test below builds it from rows.
OBJECTS = {"patching.llama.population_moments"}

# Cases that no view can answer, and why. Empty today; a case that is neither answered nor listed fails.
UNANSWERABLE: dict[str, str] = {}


def cases() -> list[dict]:
    if not EXPECTED.is_file():
        return []
    return [case for case in json.loads(EXPECTED.read_text())["cases"] if case["id"].startswith(STUDY)]


def query_of(name: str) -> tuple[str, list[str]] | None:
    """(query, parameters) of a case, or None."""
    subject, _, rest = name.partition(".")
    if name in OF_STUDY:
        return OF_STUDY[name], []
    if subject == "patching":
        family, _, rest = rest.partition(".")
        return (OF_CANDIDATES[rest], [family]) if rest in OF_CANDIDATES else None
    if "_vs_" in subject and rest in OF_PAIR:
        return OF_PAIR[rest].format(pair=PAIR), sorted(subject.split("_vs_"))
    return (OF_FAMILY[rest], [subject]) if rest in OF_FAMILY else None


@pytest.fixture(scope="module")
def warehouse(published, tmp_path_factory):
    return Warehouse(lakes.published(tmp_path_factory, published / "rfc"))


def matches(found: object, expected: object, tolerance: Any) -> bool:
    """Equality, or closeness within the tolerance that the case states."""
    if tolerance == "exact":
        return found == expected
    return found == pytest.approx(expected, **{"abs": 0, "rel": 0, **tolerance})


@pytest.mark.parametrize("case", [case for case in cases() if query_of(case["id"].removeprefix(STUDY))], ids=lambda case: case["id"])
def test_published_number(warehouse, case):
    asked = query_of(case["id"].removeprefix(STUDY))
    assert asked is not None
    query, parameters = asked
    rows = [list(row) if len(row) > 1 else row[0] for row in warehouse.select(query, parameters).rows()]
    if not isinstance(case["value"], list):
        assert len(rows) == 1, rows
    assert matches(rows if isinstance(case["value"], list) else rows[0], case["value"], case["tolerance"])


def test_moments_behind_the_scores(warehouse):
    (case,) = (case for case in cases() if case["id"].endswith("population_moments"))
    rows = warehouse.select("select score, mean, std, fit_error from patching_moments where family = 'llama'").rows()
    assert {score: [mean, std] for score, mean, std, _ in rows} == {
        score: pytest.approx(moments, **{"rel": 0, **case["tolerance"]}) for score, moments in case["value"].items()
    }
    assert max(fit_error for *_, fit_error in rows) < 1e-7


def test_every_case_is_answered_or_listed():
    names = {case["id"].removeprefix(STUDY) for case in cases()}
    if not names:
        pytest.skip("the published result files (../shared/published) are not on this machine")
    answered = {name for name in names if query_of(name)} | (OBJECTS & names)
    assert names - answered == set(UNANSWERABLE)
    assert all(UNANSWERABLE.values())


def test_what_the_study_printed_comes_out_again(warehouse):
    summaries = {row["family"]: row for row in warehouse.select("select * from rfc_summary").to_dicts()}
    assert {family: row["basis"] for family, row in summaries.items()} == {"llama": "layers", "mistral": "layers", "qwen": "printed"}
    assert [summaries[family]["printed_deviation"] < 1e-12 for family in ("llama", "mistral")] == [True, True]
    assert summaries["qwen"]["printed_deviation"] is None
    assert [round(100 * summaries["llama"][share], 1) for share in ("share_below", "share_near_zero")] == [68.8, 15.6]
    assert [round(100 * summaries["mistral"][share], 2) for share in ("share_below", "share_near_zero")] == [81.25, 6.25]
    assert [round(100 * summaries["qwen"][share], 1) for share in ("share_above", "share_near_zero")] == [21.4, 50.0]
    (correlation,) = warehouse.select("select * from rfc_correlation where alignment = 'layer index'").to_dicts()
    assert correlation["basis"] == "layers" and correlation["printed_deviation"] < 1e-12
    (candidates,) = warehouse.select("select * from patching_summary").to_dicts()
    assert candidates["printed_deviation"] < 1e-8 and candidates["printed_places_agree"] is True
    top = warehouse.select("select layer, head, did, did_log_ratio, consistency from patching_candidates where rank <= 3 order by rank").rows()
    assert [(layer, head, round(did, 4), round(ratio, 3), round(share, 2)) for layer, head, did, ratio, share in top] == [
        (5, 8, -0.0103, -0.320, 0.93),
        (16, 23, -0.0039, -0.313, 0.83),
        (14, 3, 0.0895, 0.286, 0.97),
    ]


def test_what_the_study_missed_is_visible(warehouse):
    assert warehouse.select("select distinct n_heads, n_heads_model from rfc_layer").rows() == [(28, 32)]
    assert warehouse.select("select max(head) from patching_candidates").item() > 27
    (qwen,) = warehouse.select("select max_layer_share, mean_without_largest_layer, n_heads, n_heads_model from rfc_summary where family = 'qwen'").rows()
    mean, largest = 0.0474541205960345, 1.3600031158753805
    assert qwen == (pytest.approx(largest / (28 * mean)), pytest.approx((28 * mean - largest) / 27), None, 28)
    assert qwen[0] > 1 and qwen[1] < 0
    (row,) = warehouse.select("select * from rfc_correlation where alignment = 'layer index'").to_dicts()
    assert row["pearson_p"] < 0.05 < row["loo_p_max"]
    assert row["n_effective"] < row["n"] and row["pearson_p_effective"] > 0.05
    assert warehouse.select("select family, n_fdr, n_changed_unsure from rfc_summary where basis = 'layers' order by family").rows() == [
        ("llama", 0, 25),
        ("mistral", 19, 10),
    ]


# ---- other families -----------------------------------------------------------------------------------------------------------------------------------

HEADS = {"gemma": (16, 16), "qwen": (28, 28), "llama": (28, 30)}
DEPTHS = {"gemma": 32, "qwen": 28, "llama": 32}
COLUMNS = ("mean", "std", "ci_low", "ci_high")


def comparison(family: str, rng: np.random.Generator) -> pl.DataFrame:
    """A comparison table as the study writes it, from random heads; the last layer of qwen carries the family's mean."""
    depth = DEPTHS[family]
    columns: dict[str, Any] = {"layer": range(depth)}
    n = dict(zip(("base", "instruct"), HEADS[family], strict=True))
    for variant, index in itertools.product(n, ("rfc", "rsi")):
        mean, std = rng.normal(0, 0.05, depth), rng.uniform(0.01, 0.1, depth)
        if (family, variant, index) == ("qwen", "instruct", "rfc"):
            mean[-1] += 3
        half = stats.t.ppf(0.975, n[variant] - 1) * std / math.sqrt(n[variant])
        columns |= dict(zip((f"{index}_{part}_{variant}" for part in COLUMNS), (mean, std, mean - half, mean + half), strict=True))
    columns |= {f"n_heads_{variant}": [count] * depth for variant, count in n.items()}
    for index in ("rfc", "rsi"):
        columns[f"{index}_diff"] = columns[f"{index}_mean_instruct"] - columns[f"{index}_mean_base"]
    for index in ("rfc", "rsi"):
        error = np.sqrt(sum(columns[f"{index}_std_{variant}"] ** 2 / count for variant, count in n.items()))
        half = stats.t.ppf(0.975, min(n.values()) - 1) * error
        columns |= {f"{index}_diff_ci_low": columns[f"{index}_diff"] - half, f"{index}_diff_ci_high": columns[f"{index}_diff"] + half}
    return pl.DataFrame(columns)


def write(folder: Path, family: str, table: pl.DataFrame) -> Path:
    (folder / family).mkdir(parents=True)
    table.write_csv(folder / family / "detailed_comparison.csv")
    return folder


@pytest.fixture(scope="module")
def tables():
    rng = np.random.default_rng(9)
    found = {family: comparison(family, rng) for family in HEADS}
    # Equal values, which Spearman ranks at their average.
    ties = pl.when(pl.col("layer").is_in([3, 9, 20])).then(pl.lit(0.0123)).otherwise(pl.col("rfc_diff"))
    found["gemma"] = found["gemma"].with_columns(ties.alias("rfc_diff"))
    return found


@pytest.fixture(scope="module")
def other(tables, tmp_path_factory):
    root = tmp_path_factory.mktemp("families")
    for family, table in tables.items():
        write(root / "files", family, table)
    lake = Lake.open(root / "lake")
    assert ingest_published(lake, [root / "files"]).counts == {"loaded": 3}
    return Warehouse(lake)


@pytest.mark.parametrize("family", HEADS)
def test_layers_and_differences_of_another_family(other, tables, family):
    table, (base, instruct) = tables[family], HEADS[family]
    layers = other.select("select * from rfc_layer where family = ? order by variant, layer", [family])
    assert layers["rfc"].to_list() == pytest.approx([*table["rfc_mean_base"], *table["rfc_mean_instruct"]], abs=1e-15)
    assert layers["n_heads"].to_list() == [base] * len(table) + [instruct] * len(table)
    assert set(layers["n_heads_model"]) == {{"gemma": None, "qwen": 28, "llama": 32}[family]}
    found = other.select("select * from rfc_diff where family = ? order by layer", [family])
    means = (table["rfc_mean_instruct"], table["rfc_std_instruct"], instruct, table["rfc_mean_base"], table["rfc_std_base"], base)
    test = stats.ttest_ind_from_stats(*(value.to_numpy() if isinstance(value, pl.Series) else value for value in means), equal_var=False)
    np.testing.assert_allclose(found["welch_p"], test.pvalue, rtol=1e-9)
    np.testing.assert_allclose(found["welch_p_fdr"], stats.false_discovery_control(test.pvalue), rtol=1e-9)
    assert found["excludes_zero"].to_list() == ((table["rfc_diff_ci_low"] > 0) | (table["rfc_diff_ci_high"] < 0)).to_list()
    assert found["rsi_excludes_zero"].to_list() == ((table["rsi_diff_ci_low"] > 0) | (table["rsi_diff_ci_high"] < 0)).to_list()
    assert found["changed"].to_list() == (table["rfc_diff"].abs() > 0.01).to_list()
    replaced = [3, 9, 20] if family == "gemma" else []
    assert [row["layer"] for row in found.to_dicts() if row["ci_error"] > 1e-9 or row["diff_error"] > 1e-12] == replaced


@pytest.mark.parametrize("family", HEADS)
def test_summary_of_another_family(other, tables, family):
    values = tables[family]["rfc_diff"].to_numpy()
    (row,) = other.select("select * from rfc_summary where family = ?", [family]).to_dicts()
    largest = int(np.argmax(np.abs(values)))
    assert row["basis"] == "layers" and row["printed_deviation"] is None and row["n_layers"] == DEPTHS[family]
    assert (row["mean"], row["std"], row["median"]) == (pytest.approx(values.mean()), pytest.approx(values.std()), pytest.approx(np.median(values)))
    assert (row["min_layer"], row["max_layer"], row["largest_layer"]) == (int(values.argmin()), int(values.argmax()), largest)
    counts = (values > 0.01).sum(), (values < -0.01).sum(), (np.abs(values) <= 0.01).sum(), (values > 0).sum(), (values < 0).sum()
    assert (row["n_above"], row["n_below"], row["n_near_zero"], row["n_positive"], row["n_negative"]) == counts
    assert row["max_layer_share"] == pytest.approx(values[largest] / values.sum())
    assert row["mean_without_largest_layer"] == pytest.approx(np.delete(values, largest).mean())
    assert row["mean_without_max_layer"] == pytest.approx(np.delete(values, values.argmax()).mean())
    if family == "qwen":
        assert row["largest_layer"] == 27 and row["max_layer_share"] > 0.8
    if family == "llama":
        assert row["largest_layer"] == row["min_layer"], "the largest change of this family is negative, so that it is not the maximum"


def aligned(tables, a: str, b: str, alignment: str) -> tuple[np.ndarray, np.ndarray]:
    x, y = (tables[family]["rfc_diff"].to_numpy() for family in (a, b))
    n = min(len(x), len(y))
    if alignment == "layer index":
        return x[:n], y[:n]
    depth = np.linspace(0, 1, n)
    return tuple(np.interp(depth, np.linspace(0, 1, len(profile)), profile) for profile in (x, y))


@pytest.mark.parametrize("alignment", ["layer index", "relative depth"])
@pytest.mark.parametrize(("a", "b"), [("gemma", "llama"), ("gemma", "qwen"), ("llama", "qwen")])
def test_correlation_of_unequal_depths(other, tables, a, b, alignment):
    x, y = aligned(tables, a, b, alignment)
    points = other.select(
        "select rfc_diff_a, rfc_diff_b, depth from rfc_profile_pairs where family_a = ? and family_b = ? and alignment = ? order by point", [a, b, alignment]
    )
    np.testing.assert_allclose(points["rfc_diff_a"], x, atol=1e-14)
    np.testing.assert_allclose(points["rfc_diff_b"], y, atol=1e-14)
    np.testing.assert_allclose(points["depth"], np.linspace(0, 1, len(x)), atol=1e-14)
    (row,) = other.select("select * from rfc_correlation where family_a = ? and family_b = ? and alignment = ?", [a, b, alignment]).to_dicts()
    assert (row["n"], row["n_layers_a"], row["n_layers_b"], row["basis"]) == (len(x), DEPTHS[a], DEPTHS[b], "layers")
    pearson, spearman = stats.pearsonr(x, y), stats.spearmanr(x, y)
    assert (row["pearson_r"], row["pearson_p"]) == (pytest.approx(pearson.statistic, abs=1e-12), pytest.approx(pearson.pvalue, rel=1e-9))
    assert (row["spearman_r"], row["spearman_p"]) == (pytest.approx(spearman.statistic, abs=1e-12), pytest.approx(spearman.pvalue, rel=1e-9))
    interval = pearson.confidence_interval()
    assert (row["pearson_low"], row["pearson_high"]) == (pytest.approx(interval.low), pytest.approx(interval.high))
    left_out = [stats.pearsonr(np.delete(x, k), np.delete(y, k)) for k in range(len(x))]
    assert row["loo_r_min"] == pytest.approx(min(each.statistic for each in left_out), abs=1e-12)
    assert row["loo_r_max"] == pytest.approx(max(each.statistic for each in left_out), abs=1e-12)
    assert row["loo_p_max"] == pytest.approx(max(each.pvalue for each in left_out), rel=1e-9)
    assert row["loo_p_max_point"] == int(np.argmax([each.pvalue for each in left_out]))
    lag = [np.sum((z - z.mean())[1:] * (z - z.mean())[:-1]) / np.sum((z - z.mean()) ** 2) for z in (x, y)]
    assert row["n_effective"] == pytest.approx(min(len(x), len(x) * (1 - lag[0] * lag[1]) / (1 + lag[0] * lag[1])))


def test_pairs_that_were_only_printed_and_profiles_that_do_not_vary(tmp_path):
    table = comparison("qwen", np.random.default_rng(1)).head(3)
    write(tmp_path / "files", "flat", table.with_columns(pl.lit(0.25).alias("rfc_diff")))
    write(tmp_path / "files", "short", table.head(1))
    write(tmp_path / "files", "steep", table)
    statistics = {"pearson_r": 0.5, "pearson_p": 0.01, "spearman_r": 0.4, "spearman_p": 0.02, "layers_compared": 26}
    (tmp_path / "files" / "cross.json").write_text(json.dumps({"summary_stats": {}, "correlations": {"steep_vs_phi": statistics, "steep_vs_flat": statistics}}))
    lake = Lake.open(tmp_path / "lake")
    assert not ingest_published(lake, [tmp_path / "files"]).failed
    rows = {(row["family_a"], row["family_b"], row["alignment"]): row for row in Warehouse(lake).select("select * from rfc_correlation").to_dicts()}
    printed = rows["phi", "steep", "layer index"]
    assert (printed["basis"], printed["n"], printed["pearson_r"], printed["spearman_p"]) == ("printed", 26, 0.5, 0.02)
    assert printed["loo_r_min"] is None and printed["n_layers_a"] is None
    flat = rows["flat", "steep", "layer index"]
    assert (flat["basis"], flat["n"], flat["pearson_r"], flat["pearson_p"], flat["spearman_r"], flat["loo_r_min"]) == ("layers", 3, *[None] * 4)
    assert flat["printed_deviation"] == 23, "the layers compared differ by 23; a correlation that does not exist differs by nothing"
    single = rows["short", "steep", "relative depth"]
    assert (single["n"], single["n_layers_a"], single["n_layers_b"], single["pearson_r"]) == (1, 1, 3, None)


def test_a_family_of_another_depth_is_another_model(tmp_path):
    write(tmp_path / "files", "llama", comparison("qwen", np.random.default_rng(4)))
    lake = Lake.open(tmp_path / "lake")
    ingest_published(lake, [tmp_path / "files"])
    assert Warehouse(lake).select("select distinct n_layers, n_heads, n_heads_model from rfc_layer").rows() == [(28, 28, None)]


def test_two_files_of_one_family_are_kept_apart(tmp_path):
    rng = np.random.default_rng(3)
    for version in ("old", "new"):
        write(tmp_path / version, "llama", comparison("llama", rng))
    write(tmp_path / "new", "gemma", comparison("gemma", rng))
    lake = Lake.open(tmp_path / "lake")
    assert ingest_published(lake, [tmp_path / "old", tmp_path / "new"]).counts == {"loaded": 3}
    warehouse = Warehouse(lake)
    assert warehouse.select("select family, count(*) as n, count(distinct instruct_run) as runs from rfc_diff group by family order by family").rows() == [
        ("gemma", 32, 1),
        ("llama", 64, 2),
    ]
    assert warehouse.select("select count(*) from rfc_summary where family = 'llama'").item() == 2
    assert warehouse.select("select distinct n from rfc_correlation").rows() == [(32,)]
    assert warehouse.select("select count(*) from rfc_correlation").item() == 4


def test_a_missing_value_is_left_out_and_counted(tmp_path):
    table = comparison("qwen", np.random.default_rng(8))
    lost = [pl.when(pl.col("layer") == 4).then(None).otherwise(pl.col(name)).alias(name) for name in ("rfc_diff", "rfc_mean_base")]
    write(tmp_path / "files", "qwen", table.with_columns(lost))
    lake = Lake.open(tmp_path / "lake")
    report = ingest_published(lake, [tmp_path / "files"])
    assert report.nan_to_null == 2
    values = np.delete(table["rfc_diff"].to_numpy(), 4)
    (row,) = Warehouse(lake).select("select * from rfc_summary").to_dicts()
    assert (row["n_layers"], row["mean"]) == (27, pytest.approx(values.mean()))
    assert Warehouse(lake).select("select welch_p, welch_p_fdr, changed from rfc_diff where layer = 4").rows() == [(None, None, None)]
    adjusted = Warehouse(lake).select("select welch_p, welch_p_fdr from rfc_diff where layer <> 4")
    np.testing.assert_allclose(adjusted["welch_p_fdr"], stats.false_discovery_control(adjusted["welch_p"]), rtol=1e-9)


def test_candidates_of_an_unknown_family(published, tmp_path):
    counts = [55, *range(28, 32), 40, 41, 42, 50, 51]  # of 55 pairs; as a share times 55 some fall just below the count
    table = pl.read_csv(published / "rfc" / "patching_candidates_llama.csv").with_columns(
        pl.lit("gemma").alias("model_family"),
        pl.lit(60).alias("n_self"),
        pl.lit(55).alias("n_neutral"),
        pl.Series("did_consistency", [count / 55 for count in counts]),
    )
    table.sample(fraction=1, shuffle=True, seed=2).write_csv(tmp_path / "candidates.csv")
    lake = Lake.open(tmp_path / "lake")
    assert not ingest_published(lake, [tmp_path / "candidates.csv"]).failed
    rows = Warehouse(lake).select("select * from patching_candidates order by rank").to_dicts()
    assert [row["rank_by_composite"] for row in rows] == list(range(1, 11))
    assert {row["sign_p_bonferroni"] for row in rows} == {None}
    assert [(row["n_consistent"], row["n_pairs"]) for row in rows] == [(count, 55) for count in counts]
    assert [row["sign_p"] for row in rows] == pytest.approx([stats.binomtest(count, 55).pvalue for count in counts])
    (summary,) = Warehouse(lake).select("select n_sure, printed_deviation, printed_places_agree, top_layer, top_head from patching_summary").rows()
    assert summary == (None, None, None, 5, 8)


def test_prompts_of_several_categories(tmp_path):
    rows = [("a", 0, "Who?"), ("a", 1, "Why?"), ("a", 2, "Who?"), ("b", 0, "Why?"), ("b", 1, "When?")]
    pl.DataFrame(rows, schema=["category", "prompt_index", "prompt"], orient="row").write_csv(tmp_path / "list.csv")
    lake = Lake.open(tmp_path / "lake")
    ingest_published(lake, [tmp_path / "list.csv"])
    found = Warehouse(lake).select("select category, prompt, n, indices, n_categories, n_prompts, n_distinct from prompt_duplicates order by category, prompt")
    assert found.rows() == [("a", "Who?", 2, [0, 2], 1, 3, 2), ("a", "Why?", 1, [1], 2, 3, 2), ("b", "Why?", 1, [0], 2, 2, 2)]
