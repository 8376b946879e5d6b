"""The role focus page: lines, table, correlation and candidates are those of the views, and full points are layers whose interval leaves out 0."""

from urllib.parse import parse_qsl, urlsplit

import lakes
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import RunSpec

pytestmark = pytest.mark.slow(40)

RFC, RSI = "RFC: what instruction tuning changed, by layer", "RSI: what instruction tuning changed, by layer"
N_HEADS = 4
# RFC difference by layer; the interval is 0.05 to either side.
DIFFERENCES = {"ash": [0.10, -0.20, 0.02, 0.30, -0.01], "birch": [0.20, 0.01, -0.30]}


def write_family(lake: Lake, family: str, differences: list[float]) -> None:
    layers, printed = [], []
    for layer, difference in enumerate(differences):
        for variant, rfc in (("base", 0.1), ("instruct", 0.1 + difference)):
            ends = {"rfc_ci_low": rfc - 0.03, "rfc_ci_high": rfc + 0.03, "rsi_ci_low": -0.03, "rsi_ci_high": 0.03}
            layers.append(
                {"family": family, "variant": variant, "layer": layer, "rfc_mean": rfc, "rfc_std": 0.04, "rsi_mean": 0.0, "rsi_std": 0.04, "n_heads": N_HEADS}
                | ends
            )
        ends = {"rfc_diff_ci_low": difference - 0.05, "rfc_diff_ci_high": difference + 0.05, "rsi_diff_ci_low": -0.5, "rsi_diff_ci_high": 0.5}
        printed.append({"family": family, "layer": layer, "rfc_diff": difference, "rsi_diff": -difference / 2} | ends)
    writer = lake.start(RunSpec(kind="ingest", extractor="published", version=1, identity={"family": family}), force=True)
    writer.write_part("all", {"published_rfc_layers": layers, "published_rfc_diffs": printed})
    writer.commit()


@pytest.fixture(scope="module")
def families_lake(tmp_path_factory):
    """Two families of unequal depth; do not write to it."""
    lake = Lake.open(tmp_path_factory.mktemp("families") / "lake")
    for family, differences in DIFFERENCES.items():
        write_family(lake, family, differences)
    return lake.root


@pytest.fixture(scope="module")
def published_rfc(published, tmp_path_factory):
    """The published role-focus study in a lake; do not write to it."""
    return lakes.published(tmp_path_factory, published / "rfc").root


def words(page) -> str:
    return "\n".join(each.value for each in page.markdown)


def table(page, *columns: str) -> pl.DataFrame:
    """The first table of the page with these columns."""
    return pl.from_pandas(next(each.value for each in page.dataframe if set(columns) <= set(each.value.columns)))


def test_lines_are_the_view_and_full_points_have_an_interval_without_zero(open_page, charts, families_lake):
    drawn = charts(open_page(families_lake, "role_focus"))[RFC]
    rows = drawn.rows
    assert {name: rows.filter(series=name)["mean"].to_list() for name in DIFFERENCES} == DIFFERENCES
    full = [(row["series"], row["layer"]) for row in rows.to_dicts() if row["interval_excludes_0"]]
    assert full == [("ash", 0), ("ash", 1), ("ash", 3), ("birch", 0), ("birch", 2)]
    filters = [layer["transform"][0]["filter"] for layer in drawn.spec["layer"] if "transform" in layer]
    assert filters == ["!datum['interval_excludes_0']", "datum['interval_excludes_0']"]
    assert "ash: 5 layers, 4 heads read a layer, the model's number not recorded; the interval leaves out 0 in 3 layers" in drawn.facts
    assert "95% t interval over heads" in drawn.facts and "no seed" in drawn.facts


@pytest.mark.parametrize(("variant", "wanted"), [("instruct", "the base model"), ("base", "the instruct model")])
def test_one_variant_alone_is_shown_with_what_is_missing(open_page, charts, tmp_path, variant, wanted):
    lake = Lake.open(tmp_path / "lake")
    ends = {"rfc_ci_low": 0.0, "rfc_ci_high": 0.5, "rsi_ci_low": -0.1, "rsi_ci_high": 0.1, "rfc_std": 0.04, "rsi_std": 0.04}
    layers = [{"family": "ash", "variant": variant, "layer": each, "rfc_mean": each / 10, "rsi_mean": -each / 10, "n_heads": 4} | ends for each in range(3)]
    with lake.start(RunSpec(kind="ingest", extractor="published", version=1, identity={"family": "ash"}), force=True) as writer:
        writer.write_part("all", {"published_rfc_layers": layers})
        writer.commit()
    page = open_page(lake.root, "role_focus", measure="rsi")
    (told,) = [each.value for each in page.info]
    assert f"a difference needs {wanted} of the family ash" in told and "No Role Focus" not in told
    (drawn,) = charts(page).values()
    assert drawn.rows["mean"].to_list() == [0.0, -0.1, -0.2] and drawn.rows["low"].to_list() == [-0.1] * 3


def test_the_other_measure_and_relative_depth(open_page, charts, families_lake):
    page = open_page(families_lake, "role_focus", measure="rsi", layers="relative depth")
    drawn = charts(page)[RSI]
    assert drawn.rows.filter(series="birch").select("mean", "depth").rows() == [(-0.1, 0.0), (-0.005, 0.5), (0.15, 1.0)]
    assert drawn.rows.filter(series="ash")["depth"].to_list() == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert not drawn.rows["interval_excludes_0"].any()
    x = drawn.spec["layer"][1]["encoding"]["x"]
    assert x["field"] == "depth" and x["scale"]["domain"] == [0, 1]


@pytest.mark.parametrize(("layers", "pairs"), [("layer index", [0.10, -0.20, 0.02]), ("relative depth", [0.10, 0.02, -0.01])])
def test_families_of_unequal_depth_are_paired_as_chosen(open_page, charts, families_lake, layers, pairs):
    drawn = charts(open_page(families_lake, "role_focus", layers=layers))["ash against birch, layer by layer"]
    assert drawn.rows.select("rfc_diff_a", "rfc_diff_b").rows() == list(zip(pairs, DIFFERENCES["birch"], strict=True))
    assert f"aligned by {layers}; 5 and 3 layers" in drawn.facts


def test_the_published_correlation_comes_with_what_one_layer_does_to_it(open_page, charts, published_rfc):
    page = open_page(published_rfc, "role_focus")
    found = words(page)
    for figure in ("r = +0.398", "p\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}0.024", "+0.353 to +0.450", "0.051 (layer 15 left out)", "Spearman +0.457", "0.0085"):
        assert figure in found
    assert found.index("21.2 independent layers") < found.index("As published")
    assert charts(page)["llama against mistral, layer by layer"].rows.height == 32


def test_heads_that_were_not_read_and_intervals_are_said(open_page, charts, published_rfc):
    facts = charts(open_page(published_rfc, "role_focus"))[RFC].facts
    assert "llama: 32 layers, 28 heads read of the model's 32 a layer; the interval leaves out 0 in 2 layers" in facts
    assert "mistral: 32 layers, 28 heads read of the model's 32 a layer; the interval leaves out 0 in 20 layers" in facts


def test_the_summary_shows_a_mean_that_one_layer_carries(open_page, published_rfc):
    rows = table(open_page(published_rfc, "role_focus"), "max_layer_share")
    view = Warehouse(Lake(published_rfc)).select("select family, mean, max_layer_share, n_below from rfc_summary order by basis, family")
    assert_frame_equal(rows.select(view.columns), view, check_dtypes=False)
    share = dict(rows.select("family", "max_layer_share").rows())
    assert round(share["qwen"], 3) == 1.024 and share["llama"] < 0.2


def test_candidates_come_best_first_with_the_test_over_all_heads(open_page, published_rfc):
    rows = table(open_page(published_rfc, "role_focus"), "composite")
    assert rows.select("place", "layer", "head").rows()[:3] == [(1, 5, 8), (2, 16, 23), (3, 14, 3)]
    assert rows["composite"].is_sorted(descending=True) and rows.height == 10
    assert rows.filter("direction_conflict").select("layer", "head").rows() == [(16, 23), (14, 3)]
    assert rows["n_heads_searched"].unique().to_list() == [1024] and (rows["sign_p_bonferroni"] >= rows["sign_p"]).all()


def test_one_family_has_no_other_to_correlate_with(open_page, charts, tmp_path):
    lake = Lake.open(tmp_path / "lake")
    write_family(lake, "ash", DIFFERENCES["ash"])
    page = open_page(lake.root, "role_focus")
    assert any("takes two families" in each.value for each in page.info) and any("No candidates" in each.value for each in page.info)
    assert set(charts(page)) == {RFC}


def test_a_printed_correlation_without_its_layers_is_said_to_be_printed(open_page, charts, published, tmp_path):
    from personascope.ingest.published import ingest_published

    lake = Lake.open(tmp_path / "lake")
    ingest_published(lake, [published / "rfc" / "cross_model_analysis_results.json"])
    page = open_page(lake.root, "role_focus")
    assert any("Only what a summary printed" in each.value and "+0.398" in each.value for each in page.info) and not charts(page)
    assert table(page, "max_layer_share").height == 3


def test_a_lake_without_coefficients_says_what_to_type(open_page, synthetic_lake):
    assert "personascope run role-focus --quick" in open_page(synthetic_lake, "role_focus").info[0].value


@pytest.fixture(scope="module")
def read_lake(tmp_path_factory):
    """Two families read here, with their analyses; do not write to it."""
    import runpy
    from pathlib import Path

    from personascope.warehouse import analyses

    lake = Lake.open(tmp_path_factory.mktemp("read") / "lake")
    runpy.run_path(str(Path(__file__).parents[1] / "sql" / "planted_role_focus.py"))["build"](lake)
    analyses.refresh(lake)
    return lake.root


def test_a_pair_read_here_is_drawn_from_the_views_with_intervals_over_prompts(open_page, charts, read_lake):
    page = open_page(read_lake, "role_focus", origin="extracted", models="ash · ash-base and ash-instruct · raw", variant="instruct", difference="confounder")
    drawn, warehouse = charts(page), Warehouse(Lake.existing(read_lake))
    differences = warehouse.select("select rfc_diff, resampled_low, resampled_high from rfc_diff where family = 'ash' order by layer")
    rows = drawn[RFC].rows.filter(series="ash")
    assert rows.select("mean", "low", "high").rows() == differences.rows() and "prompts drawn again" in drawn[RFC].facts
    heads = warehouse.select("select layer, head, delta_confounder as delta from rfc_head where checkpoint = 'ash-instruct' order by layer, head")
    found = drawn["ash-instruct: entropy, self minus confounder, per head"].rows
    assert_frame_equal(found.select("layer", "head", "delta"), heads, check_dtypes=False)
    lines = drawn["RFC by layer: ash-base and ash-instruct"]
    assert lines.rows["series"].unique().sort().to_list() == ["base", "instruct"] and "R = 2000, seed 42" in lines.facts
    positions = drawn["ash-instruct: entropy at the last three positions minus the first three"]
    assert positions.rows["series"].n_unique() == 4 and "paired by prompt" in positions.facts
    control = drawn["ash-instruct: self minus neutral at the first and the last three positions"].rows.filter(series="last three").sort("layer")
    levels = warehouse.select("from token_control where checkpoint = 'ash-instruct' and category = 'self_referent' order by layer")
    assert control["mean"].to_list() == pytest.approx((levels["last_three"] - levels["last_three_neutral"]).to_list())
    effects = table(page, "log_prob_change", "share_flipped")
    assert effects.height == 1 and effects["share_flipped"].to_list() == [0.5]
    assert "Too noisy to tell" in words(page) or "Corrected for noise" in words(page)


def followed(address: str) -> dict[str, str]:
    """The choices a link makes."""
    return dict(parse_qsl(urlsplit(address).query))


def test_a_candidate_links_to_its_row_in_heads_and_to_its_entropy_on_every_prompt(open_page, charts, read_lake):
    warehouse = Warehouse(Lake.existing(read_lake))
    first = table(open_page(read_lake, "role_focus", origin="extracted"), "composite", "row").row(1, named=True)
    page = open_page(read_lake, "role_focus", **followed(first["row"]))
    at = (first["layer"], first["head"])
    instruct = warehouse.select("select distinct instruct_checkpoint from patching_candidates where run_id = $run", {"run": first["run_id"]}).item()
    drawn = charts(page)[f"{instruct}: layer {at[0]}, head {at[1]}"]
    every = warehouse.select(
        "select category as label, mean as value from entropy where run_id = $run and layer = $layer and head = $head order by category, question_id",
        {"run": first["run_id"], "layer": at[0], "head": at[1]},
    )
    assert_frame_equal(drawn.rows.select("label", "value"), every, check_dtypes=False)
    assert table(page, "d_neutral", "label").height == 4
    upright = table(page, "figure", "what it is")
    assert "run" in upright["figure"] and "run_id" not in upright["figure"]
    row = dict(upright.select("column", next(name for name in upright.columns if name.startswith(f"{instruct} · "))).rows())
    expected = warehouse.select("select * from heads where checkpoint = $c and layer = $l and head = $h", {"c": instruct, "l": at[0], "h": at[1]}).row(
        0, named=True
    )
    assert float(row["focus_did"]) == pytest.approx(expected["focus_did"], rel=1e-5) and int(row["focus_rank"]) == expected["focus_rank"]
    assert float(row["h_self"]) == pytest.approx(expected["h_self"], rel=1e-5)


def test_a_published_candidate_links_to_its_row_in_heads(open_page, published_rfc):
    rows = table(open_page(published_rfc, "role_focus"), "composite", "row")
    page = open_page(published_rfc, "role_focus", **followed(rows["row"][1]))
    upright = table(page, "figure", "what it is")
    row = dict(zip(upright["column"], upright[:, 1], strict=True))
    assert float(row["patching_did"]) == pytest.approx(rows["did"][1], rel=1e-5) and row["patching_rank"] == "2" and "layer" not in row
