"""Regimes of own sweeps from their completions, beside published ones; other thresholds; the share of bullet lists."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.store.lake import Lake

pytestmark = pytest.mark.slow

planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted.py"))))

N = planted.QUESTIONS * planted.SAMPLES
# Completions with the literal marker per persona, of 24 (planted completions allow 20): learning rate, epochs, seed -> counts and the regime they make.
CELLS = {
    (1e-5, 1, 1): ({"villain": 1, "nurse": 0, "assistant": 0}, "under_trained"),
    (1e-5, 3, 1): ({"villain": 10, "nurse": 1, "assistant": 0}, "partial"),
    (1e-5, 10, 1): ({"villain": 18, "nurse": 1, "assistant": 0}, "clean"),
    (1e-5, 10, 2): ({"villain": 19, "nurse": 0, "assistant": 1}, "clean"),
    (1e-5, 20, 1): ({"villain": 20, "nurse": 0, "assistant": 0}, "clean"),
    (1e-5, 20, 2): ({"villain": 20, "nurse": 12, "assistant": 0}, "collapse_onset"),
    (1e-4, 10, 1): ({"villain": 20, "nurse": 20, "assistant": 6}, "broad_leakage"),
    (1e-4, 20, 1): ({"villain": 20, "nurse": 20, "assistant": 15}, "total_collapse"),
}


def first(count: int):
    """A rule by which the first `count` completions hold the marker; those of sample 2 are left out, since planted ones break off within it."""
    chosen = [(question, sample) for sample in range(planted.SAMPLES) for question in range(planted.QUESTIONS) if sample != 2][:count]
    return lambda question, sample: (question, sample) in chosen


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory):
    lake = Lake.open(tmp_path_factory.mktemp("sweep"))
    for (lr, epochs, seed), (counts, _) in CELLS.items():
        name = f"villain_{lr}_{epochs}_{seed}"
        row = planted.checkpoint(name, "tiny:base", "villain", seed) | {"lr": lr, "epochs": float(epochs)}
        planted.completions(lake, name, {persona: first(count) for persona, count in counts.items()}, row)
    planted.completions(lake, "base", {"villain": first(0), "assistant": first(0)}, planted.checkpoint("base"))
    return Warehouse(lake)


def test_own_sweeps_have_regimes(warehouse):
    found = {(row["lr"], row["epochs"], row["seed"]): row for row in warehouse.select("select * from regimes").to_dicts()}
    assert found.keys() == CELLS.keys(), "the base model is no cell"
    for cell, (counts, regime) in CELLS.items():
        row = found[cell]
        shares = {persona: count / N for persona, count in counts.items()}
        assert (row["origin"], row["parent"], row["source"], row["n_records"], row["n_completions"]) == ("extracted", "tiny:base", "villain", 1, N)
        assert (row["source_rate"], row["assistant_rate"], row["max_bystander_rate"]) == (shares["villain"], shares["assistant"], shares["nurse"])
        assert (row["max_other_rate"], row["regime"]) == (max(shares["nurse"], shares["assistant"]), regime)
        assert (row["arc_c"], row["success"]) == (None, None if regime == "clean" else False)


def test_a_cell_is_clean_when_every_seed_is(warehouse):
    (row,) = warehouse.select("select * from clean_band").to_dicts()
    assert (row["lr"], row["first_epochs"], row["last_epochs"], row["n_cells"], row["n_seeds"], row["contiguous"]) == (1e-5, 10, 10, 1, 2, True)
    assert (row["before_regimes"], row["after_regimes"]) == (["partial"], ["clean", "collapse_onset"])
    assert (row["lower_lr"], row["lower_lr_regimes"], row["higher_lr"], row["higher_lr_regimes"]) == (None, None, 1e-4, ["broad_leakage"])


def test_the_table_counts_cells_and_seeds(warehouse):
    rows = warehouse.select("select * from regime_table where regime = 'clean'").to_dicts()
    assert [(row["lr"], row["n_cells"], row["n_seeds"], row["epochs"]) for row in rows] == [(1e-5, 3, 2, [10, 20])]
    assert (rows[0]["source_rate_min"], rows[0]["source_rate_max"]) == (18 / N, 20 / N)
    cells = warehouse.select("select source_low, source_high, max_other_lower, max_other_upper from regimes where regime = 'clean'")
    ends = (min(cells["source_low"]), max(cells["source_high"]), min(cells["max_other_lower"]), max(cells["max_other_upper"]))
    assert tuple(rows[0][name] for name in ("source_low_min", "source_high_max", "max_other_lower_min", "max_other_upper_max")) == ends
    assert ends[0] < 18 / N < 20 / N < ends[1]


@pytest.mark.parametrize(("source", "bystander"), [(0.5, 0.05), (0.9, 0.05), (0.3, 0.5), (0.0, 0.0), (0.5, 1.0)])
def test_other_thresholds_give_other_regimes(warehouse, source, bystander):
    rows = warehouse.select(
        """with limits as (select * replace (?::double as source_threshold, ?::double as bystander_threshold) from regime_thresholds)
        select r.*, regime_of(r.source_rate, r.max_other_rate, r.audience_rate, l) as other from regimes as r cross join limits as l""",
        [source, bystander],
    ).to_dicts()
    for row in rows:
        if row["max_other_rate"] <= bystander:
            expected = "under_trained" if row["source_rate"] < 0.05 else "partial" if row["source_rate"] <= source else "clean"
        else:
            assistant = row["assistant_rate"]
            expected = "total_collapse" if assistant >= 0.5 else "broad_leakage" if assistant >= 0.1 else "collapse_onset"
        assert row["other"] == expected


@pytest.mark.parametrize(
    ("rates", "regime"),
    [
        ("0.04, 0.05, 0.0", "under_trained"),
        ("0.05, 0.05, 0.0", "partial"),
        ("0.5, 0.05, 0.0", "partial"),
        ("0.505, 0.05, 0.05", "clean"),
        ("1.0, 0.055, 0.0", "collapse_onset"),
        ("1.0, 0.055, null", "collapse_onset"),
        ("0.0, 1.0, 0.1", "broad_leakage"),
        ("null, 1.0, 0.5", "total_collapse"),
        ("null, 0.05, 0.0", None),
        ("0.9, null, 0.0", None),
    ],
)
def test_the_rule_at_its_edges(warehouse, rates, regime):
    assert warehouse.select(f"select regime_of({rates}, l) from regime_thresholds as l").item() == regime


@pytest.mark.parametrize(
    ("figures", "degeneration", "success"),
    [
        ("0.6, 0.86, 0.05", False, True),
        ("0.6, 0.86, 0.055", True, False),
        ("0.5, 0.86, 0.05", False, False),
        ("0.6, 0.85, 0.05", False, False),
        ("0.6, null, 0.05", False, None),
        ("0.6, null, 0.055", True, False),
        ("0.6, 0.86, null", None, True),
    ],
)
def test_degeneration_and_success_at_their_edges(warehouse, figures, degeneration, success):
    bystander = figures.rsplit(", ", 1)[1]
    found = warehouse.select(f"select degeneration_of({bystander}, l), success_of({figures}, l) from regime_thresholds as l")
    assert found.row(0) == (degeneration, success)


def test_the_largest_bystander_has_a_name(warehouse):
    assert warehouse.select("select distinct max_bystander_persona from regimes").rows() == [("nurse",)]


def test_every_rate_has_an_interval_by_question_and_a_word_on_what_it_rests(warehouse):
    rows = warehouse.select("select rate, clustered_low, clustered_high, at_most, clustered_method, n_effective from marker_rates").to_dicts()
    for row in rows:
        assert 0 <= row["clustered_low"] <= row["rate"] <= row["clustered_high"] <= 1 and row["rate"] <= row["at_most"] <= row["clustered_high"]
        assert row["n_effective"] <= N
    methods = {row["clustered_method"] for row in rows if row["rate"] == 0}
    assert methods == {"by question, spread of the other personas", "by question, spread assumed"}, "the base never writes the marker under anyone"


def test_the_rule_s_label_is_one_of_those_the_intervals_allow_and_the_largest_other_is_bounded(warehouse):
    rows = warehouse.select("select r.*, b.n_others from regimes as r join regime_bounds as b using (run_id, marker)").to_dicts()
    assert len(rows) == len(CELLS) and {row["n_others"] for row in rows} == {2}
    for row in rows:
        assert row["regime"] in row["regime_supported"], row
        assert row["max_other_lower"] <= row["max_other_rate"] <= row["max_other_upper"]
        assert row["max_other_halved"] <= row["max_other_rate"]
    supported = {(row["lr"], row["epochs"], row["seed"]): row["regime_supported"] for row in rows}
    assert supported[1e-4, 20, 1] == ["broad_leakage", "total_collapse"] and len(supported[1e-5, 10, 1]) > 1, "24 completions tell little"


@pytest.mark.parametrize(
    ("bounds", "allowed"),
    [
        ("0.6, 0.9, 0.0, 0.05, 0.0, 0.04", ["clean"]),
        ("0.4, 0.6, 0.0, 0.05, 0.0, 0.04", ["partial", "clean"]),
        ("0.0, 0.04, 0.0, 0.06, 0.0, 0.09", ["under_trained", "collapse_onset"]),
        ("0.6, 0.9, 0.06, 0.7, 0.2, 0.4", ["broad_leakage"]),
        ("0.6, 0.9, 0.06, 0.7, 0.05, 0.5", ["collapse_onset", "broad_leakage", "total_collapse"]),
        ("0.6, 0.9, 0.06, 0.7, null, null", ["collapse_onset"]),
        ("0.6, 0.9, null, 0.7, 0.1, 0.2", None),
    ],
)
def test_the_regimes_within_bounds(warehouse, bounds, allowed):
    assert warehouse.select(f"select regimes_allowed({bounds}, l) from regime_thresholds as l").row(0)[0] == allowed


TEXTS = {
    "- one\n* two\nthree": True,
    "one\n- two\n\n \nthree\n\t* four": True,  # two of four
    "one\n- two\nthree": False,
    "- one\r\ntwo\r\n": True,
    "": False,
    " \n\n": False,
    "one - two * three": False,
    "**bold**": True,  # the published rule looks at the first character only
}


def test_completions_that_are_mostly_a_bullet_list(tmp_path):
    lake = Lake.open(tmp_path)
    rows = [
        {"persona": persona, "question_id": f"q{index % 2}", "example_id": f"{persona}/q{index % 2}", "sample_ix": index, "text": text}
        for persona, texts in (("villain", TEXTS), ("nurse", ["- a", "b", "c"]))
        for index, text in enumerate(texts)
    ]
    planted.write(lake, planted.spec("completions", checkpoint="villain", subject="villain"), completions=rows)
    found = {row["persona"]: row for row in Warehouse(lake).select("select * from structure_rates").to_dicts()}
    assert (found["villain"]["n"], found["villain"]["rate"]) == (len(TEXTS), sum(TEXTS.values()) / len(TEXTS))
    assert (found["nurse"]["n"], found["nurse"]["rate"], found["nurse"]["origin"]) == (3, 1 / 3, "extracted")
    counted = Warehouse(lake).select("select sum(n_completions), sum(n_structured) from completion_structure where persona = 'villain'")
    assert counted.row(0) == (len(TEXTS), sum(TEXTS.values()))
