"""Views of steering: effects and slopes beside plain recomputation, control directions as a null that holds, layers that were picked, doses that break."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from scipy import stats

from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.asking.source import WarehouseSource
from personascope.warehouse.drawing.cells import as_words
from personascope.warehouse.drawing.figures import dose_response
from personascope.warehouse.drawing.words import NOTHING_KNOWN, signed
from personascope.warehouse.settings import Parameter
from personascope.warehouse.store.lake import Lake

pytestmark = pytest.mark.slow(20)
planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted_steering.py"))))


@pytest.fixture(scope="module")
def lake(tmp_path_factory) -> Lake:
    lake = Lake.open(tmp_path_factory.mktemp("steered"))
    planted.steer(lake, "gated", 12.0, ceiling=2.4, nll=1.0, lost=3, trained=True)
    return lake


def run_of(lake: Lake) -> str:
    """The run of `gated`, whatever else a test has put beside it."""
    return next(run.run_id for run in lake.manifests() if run.checkpoint == "gated")


@pytest.fixture(scope="module")
def effects(lake) -> pl.DataFrame:
    return Warehouse(lake).select(f"from steering_effects where run_id = '{run_of(lake)}'")


def test_a_difference_is_paired_and_has_the_interval_of_its_questions(lake, effects):
    raw = pl.DataFrame(lake.read(run_of(lake), "steering"))
    keys = ["example_id", "sample_ix"]
    zero = raw.filter(pl.col("dose") == 0).select(*keys, plain="marker_log_prob")
    arm = raw.filter((pl.col("direction") == planted.TARGET) & (pl.col("layer") == 2) & (pl.col("dose") == 0.2)).join(zero, on=keys)
    arm = arm.with_columns(apart=pl.col("marker_log_prob").cast(float) - pl.col("plain").cast(float))
    for persona, part in [("all", arm), ("villain", arm.filter(pl.col("persona") == "villain"))]:
        row = effects.row(by_predicate=_at(planted.TARGET, 2, 0.2, persona, "marker_log_prob"), named=True)
        means = part.group_by("question_id").agg(pl.col("apart").mean())["apart"].to_numpy()
        low, high = stats.t.interval(0.95, len(means) - 1, means.mean(), stats.sem(means))
        assert (row["difference"], row["low"], row["high"]) == pytest.approx((means.mean(), low, high), abs=1e-9)
        assert (row["n"], row["n_clusters"], row["base"]) == (part.height, 10, pytest.approx(part["plain"].cast(float).mean()))
        assert row["value"] == pytest.approx(row["base"] + row["difference"])


def _at(direction: str, layer: int, dose: float, persona: str, outcome: str) -> pl.Expr:
    same = (pl.col("direction") == direction) & (pl.col("layer") == layer) & (pl.col("dose") == dose)
    return same & (pl.col("persona") == persona) & (pl.col("outcome") == outcome)


def test_controls_are_ranked_with_the_direction_and_the_largest_layer_with_all_layers(effects):
    own = effects.filter((pl.col("dose") == 0.2) & (pl.col("persona") == "all") & (pl.col("outcome") == "marker_log_prob"))
    table = {(row["direction"], row["layer"]): row["difference"] for row in own.iter_rows(named=True)}
    names = sorted({name for name, _ in table})
    for direction in (planted.TARGET, "random-0003"):
        others = [name for name in names if name not in (direction, planted.TARGET)]
        far = {}
        for layer in (1, 2):
            pool = np.array([table[direction, layer], *(table[each, layer] for each in others)])
            far[layer] = np.abs(pool - pool.mean()) / pool.std()
            row = own.row(by_predicate=(pl.col("direction") == direction) & (pl.col("layer") == layer), named=True)
            assert row["n_controls"] == len(others) and row["control_kind"] == "random"
            assert row["control_p"] == pytest.approx((far[layer] >= far[layer][0] - 1e-9).mean())
            assert row["control_effect"] == pytest.approx((pool[0] - pool[1:].mean()) / pool[1:].std(ddof=1))
        most = np.maximum(far[1], far[2])
        for layer in (1, 2):
            row = own.row(by_predicate=(pl.col("direction") == direction) & (pl.col("layer") == layer), named=True)
            assert row["control_p_adjusted"] == pytest.approx((1 + (most[1:] >= far[layer][0] - 1e-9).sum()) / len(most)) and row["n_layers_tried"] == 2
    assert own.row(by_predicate=(pl.col("direction") == planted.TARGET) & (pl.col("layer") == 1), named=True)["control_p"] == pytest.approx(1 / 20)


def test_a_dose_that_breaks_the_model_says_so(lake, effects):
    of_target = effects.filter((pl.col("direction") == planted.TARGET) & (pl.col("outcome") == "marker_log_prob") & (pl.col("persona") == "all"))
    assert dict(of_target.filter(pl.col("layer") == 1).select("dose", "is_broken").rows()) == {0.1: False, 0.2: False, 0.4: True}
    row = of_target.row(by_predicate=(pl.col("dose") == 0.4) & (pl.col("layer") == 1), named=True)
    assert (row["nll_change"], row["capability_change"]) == pytest.approx((1.0, -0.3))
    of_task = effects.filter((pl.col("outcome") == "capability") & (pl.col("dose") == 0.4))
    assert set(of_task["direction"]) == {planted.TARGET} and set(of_task["persona"]) == {"task"} and set(of_task["n_controls"]) == {0}


def test_a_slope_is_the_mean_of_those_of_questions_and_ends_where_more_does_no_more(lake):
    slopes = Warehouse(lake).select("from steering_slopes where outcome = 'marker_log_prob' and persona = 'all' and layer = 1 and checkpoint = 'gated'")
    row = slopes.row(by_predicate=pl.col("direction") == planted.TARGET, named=True)
    raw = Warehouse(lake).select(
        f"from steering_outcomes where direction = '{planted.TARGET}' and layer = 1 and outcome = 'marker_log_prob' and checkpoint = 'gated'"
    )
    each = [np.linalg.lstsq(part["dose"].to_numpy()[:, None], part["difference"].to_numpy())[0][0] for _, part in raw.group_by("question_id")]
    low, high = stats.t.interval(0.95, 9, np.mean(each), stats.sem(each))
    assert (row["slope"], row["low"], row["high"]) == pytest.approx((np.mean(each), low, high))
    assert (row["n_doses"], row["side"], row["saturates_at"], row["capability_lost_at"], row["perplexity_beyond_at"]) == (3, "more", 0.2, 0.4, 0.4)
    flat = slopes.filter(pl.col("kind") == "random")
    assert flat.height == 19 and flat["capability_lost_at"].null_count() == 19


def test_the_gate_has_a_sentence_for_the_largest_dose_that_leaves_the_model_whole(lake):
    """Rises by 2.4 nats at dose 0.2; 0.4 breaks the model. Nothing moves where the direction does nothing: within the margin, or too noisy to tell."""
    planted.steer(lake, "closed", 0.0, spread=0.01, noise=0.01, trained=True)
    planted.steer(lake, "noisy", 0.0, spread=0.01, noise=2.0, trained=True)
    rows = Warehouse(lake).select("from persona_gate where question = 'turns on' and layer = 1")
    found = {row["checkpoint"]: row for row in rows.iter_rows(named=True)}
    gated = found["gated"]
    assert (gated["dose"], gated["is_broken"], gated["movement"], gated["persona"], gated["points_to"]) == (0.2, False, "moved", "others", None)
    assert gated["control_p"] == pytest.approx(0.05) and gated["n"] == 20
    assert gated["verdict"].startswith(
        "villain-assistant added by 0.2 at layer 1 under other personas: the marker's log-probability rises (+2.29 nats, 95% +2."
    )
    end = "; random directions of its length do less (19 of them, p = 0.05 over all layers)"
    assert "10 questions), its rate is 0.60 instead of 0.10" in gated["verdict"] and gated["verdict"].endswith(end)
    assert (found["closed"]["movement"], found["noisy"]["movement"]) == ("equivalent", "cannot tell") and found["closed"]["equivalence_p"] < 0.05
    assert "-0.00" not in found["closed"]["verdict"] and "+0.00" not in found["closed"]["verdict"] and "0.00" in found["closed"]["verdict"]
    assert "stays within 0.1 (" in found["closed"]["verdict"] and "cannot be told to move" in found["noisy"]["verdict"]


def test_controls_too_few_for_any_p_are_not_said_to_do_as_much(tmp_path):
    """Of 9 controls none does as much, and p is 0.1 all the same: the least that 9 can give."""
    lake = Lake.open(tmp_path)
    planted.steer(lake, "gated", 12.0, n_controls=9, ceiling=2.4, trained=True)
    planted.steer(lake, "closed", 0.0, n_controls=9, trained=True)
    rows = Warehouse(lake).select("select checkpoint, control_p, verdict from persona_gate where question = 'turns on'").to_dicts()
    for row in rows:
        if row["checkpoint"] == "gated":
            assert row["control_p"] == pytest.approx(0.1)
            assert row["verdict"].endswith("do less (9 of them, p = 0.1 over all layers: too few to tell, 19 are the least for 0.05)")
        else:
            assert row["control_p"] > 0.1 and "of its length do as much (9 of them, p = " in row["verdict"] and "too few" not in row["verdict"]
    assert {row["checkpoint"] for row in rows} == {"gated", "closed"}


@pytest.mark.parametrize(("own", "controls", "word"), [(0.0, -8.0, "more"), (1.0, -8.0, "the opposite and more"), (-20.0, -8.0, "less"), (8.0, -1.0, "less")])
def test_controls_that_do_more_are_not_said_to_do_less(tmp_path, own, controls, word):
    """A direction that leaves the marker alone lies as far from controls that all lower it as one that lowers it more."""
    lake = Lake.open(tmp_path)
    planted.steer(lake, "gated", own, of_controls=controls, spread=0.1, noise=0.01, trained=True, doses=(1.0,), layers=(1,), seed=3)
    (row,) = Warehouse(lake).select("select control_p, verdict from persona_gate where question = 'turns on'").to_dicts()
    assert row["control_p"] == pytest.approx(0.05) and row["verdict"].endswith(
        f"; random directions of its length do {word} (19 of them, p = 0.05 over all layers)"
    )


def test_two_runs_of_one_step_have_one_newest_verdict(tmp_path):
    lake = Lake.open(tmp_path)
    for name, subject in (("first", "gated"), ("second", "gated")):
        run = planted.steer(lake, name, 12.0, trained=True, layers=(1,), doses=(0.1,), n_controls=1, subject=subject)
    rows = Warehouse(lake).select("select run_id, is_newest, verdict from persona_gate where question = 'turns on' order by is_newest").rows()
    (old, _, older), (new, is_newest, verdict) = rows
    assert new == run != old and is_newest and older.endswith(f" (an earlier run, {old})") and "earlier" not in verdict


@pytest.mark.parametrize(
    ("number", "written"),
    [(-0.004, "0.00"), (0.004, "0.00"), (-0.0, "0.00"), (-0.006, "-0.01"), (0.006, "+0.01"), (-1.234, "-1.23"), (12.0, "+12.00"), (None, None)],
)
def test_a_change_that_rounds_to_nothing_has_no_sign(lake, number, written):
    """In sentences of views, in those of figures (with a real minus), and -0 in tables."""
    assert Warehouse(lake).select("select change_words($number::double) as told", {"number": number}).item() == written
    assert signed(number, 2) == (NOTHING_KNOWN if written is None else written.replace("-", "\u2212"))
    assert not as_words(number).startswith("-") or number < 0


def test_random_directions_are_a_null_that_holds(tmp_path):
    """200 random directions, each tested against the other 199: one in twenty is called an effect at 0.05, also where the largest of three layers is taken."""
    lake = Lake.open(tmp_path)
    planted.steer(lake, "null", 0.0, n_controls=200, layers=(1, 2, 3), doses=(0.2,), lean=True)
    found = Warehouse(lake).select("from steering_effects where kind = 'random' and persona = 'all' and outcome = 'marker_log_prob'")
    assert found.height == 600 and found["n_controls"].unique().to_list() == [199]
    assert found.group_by("layer").agg((pl.col("control_p") <= 0.05).mean())["control_p"].to_list() == pytest.approx([0.05] * 3, abs=1e-9)
    picked = found.group_by("direction").agg(pl.col("control_p").min(), pl.col("control_p_adjusted").min())
    bare, adjusted = picked.select((pl.col("control_p") <= 0.05).mean(), (pl.col("control_p_adjusted") <= 0.05).mean()).row(0)
    assert bare > 0.1 and adjusted == pytest.approx(0.05, abs=0.01)


def test_the_dose_response_is_drawn_with_its_controls_and_what_is_left_of_the_model(lake):
    source = WarehouseSource(Warehouse(lake))
    drawing = dose_response.response(source, run_of(lake), planted.TARGET, 1, "add")
    assert drawing is not None and drawing.rows.filter(pl.col("series") == planted.TARGET)["dose"].to_list() == [0, 0.1, 0.2, 0.4]
    assert drawing.rows["series"].unique().sort().to_list() == ["19 directions of kind random, middle 95%", planted.TARGET]
    facts = " ".join(drawing.facts)
    assert "perplexity times 2.72 at most, right answers −0.30 at least" in facts and "THE MODEL BREAKS at dose 0.4" in facts
    assert drawing.picture("svg").startswith(b"<svg")
    assert dose_response.draw(source, "no study") == []
    assert f"{2 * 2 * 10} answers of 10 questions, paired" in facts and drawing.facts[0] == "over all personas asked"


def test_a_dose_response_says_how_many_answers_each_dose_rests_on(lake):
    """Answers that are cut have no t*: of 40 answers few may be left at one dose, and no control at the first."""
    seen = WarehouseSource(Warehouse(lake)).select

    def fewer(query, **given):
        found = seen(query, **given)
        return found.sort("dose").with_columns(n=pl.Series([7, 2, 40]), questions=pl.Series([5, 2, 10]), n_controls=pl.Series([0, 18, 19]))

    drawing = dose_response.response(SimpleNamespace(select=fewer), run_of(lake), planted.TARGET, 1, "add")
    assert drawing is not None and drawing.facts[1].startswith("2 to 40 answers of 2 to 10 questions a dose, paired with dose 0")
    assert "18 to 19 directions of kind random, middle 95%" in drawing.rows["series"].unique().to_list()


def test_a_slice_tells_what_steering_changes_persona_by_persona(tmp_path):
    lake = Lake.open(tmp_path / "lake")
    planted.steer(lake, "dull", 0.3, nll=1.0, trained=True)
    rows = Warehouse(lake).select("select persona, layer, value, low, high, p, verdict from slice_directions where measure = 'change of marker log prob'")
    is_control = pl.col("kind").is_in(["random", "random_in_span", "shuffled"])
    effects = Warehouse(lake).select("from steering_effects where outcome = 'marker_log_prob'")
    own = effects.filter(~is_control, ~pl.col("persona").is_in(["all", "others"]))
    expected = own.select(
        "persona",
        "layer",
        value="difference",
        low="low",
        high="high",
        p="control_p_adjusted",
        verdict=pl.when("is_broken").then(pl.lit("the dose leaves too little of the model")),
    )
    assert rows.height > 0 and rows["verdict"].n_unique() == 2 and rows.sort(rows.columns).equals(expected.sort(rows.columns))
    assert own["control_p"].to_list() != own["control_p_adjusted"].to_list(), "else this could not tell them apart"


def test_settings_of_drawing_of_a_run_that_reads_given_answers_differ_from_nothing(tmp_path):
    """A trained checkpoint draws 32 tokens; its base reads those answers under the default of 128, which decides nothing. A base that draws 128 is told."""
    lake = Lake.open(tmp_path)
    base = planted.base

    def drawn(extractor: str, name: str, most: int, inputs: list[str], **rows: list[dict]) -> str:
        of_run = {"checkpoint": name, "subject": name, "prompt_set": "ask@1", "inputs": inputs}
        run = base.spec(extractor, **of_run, tag=str(most), parameters=[Parameter(name="max_new_tokens", value=most)])
        return base.write(lake, run, checkpoints=[base.checkpoint(name, parent="tiny:base" if name == "trained" else None)], **rows)

    key = {"persona": "villain", "question_id": "q0", "example_id": "villain/q0", "sample_ix": 0}
    answers = drawn("completions", "trained", 32, [], completions=[key | {"token_ids": [1, 2], "prompt_len": 1, "n_new_tokens": 1, "text": "x"}])
    row = key | {"dose": 0.0, "marker_log_prob": -8.0}
    drawn("steering", "trained", 32, ["directions-1"], steering=[row | {"forced": False}])
    drawn("steering", "base", 128, [answers, "directions-2"], steering=[row | {"forced": True}])
    found = "select subject, finding from audit_settings_differ where subject like 'steering%' order by subject"
    assert Warehouse(lake).select(found).is_empty()
    drawn("steering", "base", 64, ["directions-2"], steering=[row | {"forced": False}])
    rows = Warehouse(lake).select(found).rows()
    assert [subject.startswith(f"steering of {name}, max_new_tokens") for (subject, _), name in zip(rows, ("base", "trained"), strict=True)] == [True, True]
    assert all("64.0" in finding and "128" not in finding for _, finding in rows)
