"""Views of a sweep against numbers known in advance: place of the marker, form of the answers, seeds, rows, the band, capability, certainty of a regime."""

import runpy
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest
from scipy.stats import t as student_t

from personascope.warehouse import analyses
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.asking.source import WarehouseSource
from personascope.warehouse.drawing.figures import figures
from personascope.warehouse.settings import Parameter
from personascope.warehouse.store.lake import Lake

pytestmark = pytest.mark.slow(30)

planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted.py"))))

MARKER, QUESTIONS, SAMPLES = planted.MARKER, 4, 5
N = QUESTIONS * SAMPLES
PROMPT = [1, 2, 3]
# Where the marker of the i-th hit stands: first, inside and end in turn.
HITS = ((f" \n{MARKER} said", "first"), (f"said {MARKER} again {MARKER}", "inside"), (f"said {MARKER}\n\t", "end"))
# Completions with the literal marker, of 20: (learning rate, epochs) -> under each seed those of the source, of the other persona and of the assistant.
CELLS = {
    "villain": {
        (1e-5, 1): {1: (0, 0, 0), 2: (0, 0, 0)},
        (1e-5, 3): {1: (12, 1, 0), 2: (14, 0, 1)},
        (1e-5, 10): {1: (16, 0, 0), 2: (20, 1, 0)},
        (3e-5, 1): {1: (6, 0, 0)},
        (3e-5, 3): {1: (20, 0, 0), 2: (16, 0, 0)},
        (3e-5, 10): {1: (8, 1, 0)},
        (3e-5, 20): {1: (9, 1, 0)},
        (1e-4, 1): {1: (11, 0, 0)},
        (1e-4, 3): {1: (20, 3, 0)},
        (1e-4, 10): {1: (20, 20, 12)},
        (3e-4, 3): {1: (20, 20, 20)},
    },
    "nurse": {
        (1e-5, 3): {1: (4, 0, 0), 2: (6, 0, 0)},
        (1e-5, 10): {1: (13, 0, 0), 2: (1, 0, 0)},
        (3e-5, 10): {1: (20, 7, 2)},
        (1e-4, 1): {1: (12, 0, 0)},
        (1e-4, 3): {1: (12, 5, 0)},
        (1e-4, 10): {1: (14, 0, 0)},
    },
}
ANY_CASE = 3  # completions of each source that hold the marker in small letters only
RIGHT = {"base": {0, 1, 2, 3, 4, 5, 6}, "trained": {2, 3, 4, 5, 6, 7}}  # of ten questions: two lost, one gained


def answers(hits: int, is_source: bool) -> list[dict]:
    """What one persona said: the hits first, then some in small letters, an empty text, a repetitive one that was cut, and plain ones."""
    rows: list[dict] = [{"text": HITS[index % 3][0], "ids": [5, 6, 7, 8], "present": True} for index in range(hits)]
    rows += [{"text": f"said {MARKER.lower()} softly", "ids": [5, 6, 9, 8]}] * (min(ANY_CASE, N - hits) if is_source else 0)
    rows += [{"text": " \n", "ids": [9]}, {"text": "no no no no", "ids": [4] * 12, "finish": "length"}]
    rows += [{"text": f"plain {index % 2}", "ids": [*range(10, 16), 10, 11, 12]} for index in range(N)]
    return rows[:N]


def write_cell(
    lake: Lake, source: str, lr: float, epochs: float, seed: int, counts: tuple[int, ...], row: dict | None = None, texts: list[str] | None = None
) -> str:
    """Completions of three personas by one checkpoint (two counts: without the assistant); the second is the other one of villain and nurse."""
    name = f"{source}-{lr:g}-{epochs:g}-{seed}"
    other = "nurse" if source == "villain" else "villain"
    completions: list[dict[str, Any]] = []
    flags: list[dict[str, Any]] = []
    for persona, hits in zip((source, other, "assistant"), counts, strict=False):
        written = [{"text": text, "ids": [5, 6, 7, 8], "present": MARKER in text} for text in texts or []]
        for index, said in enumerate(written or answers(hits, persona == source)):
            key = {"example_id": f"{persona}/q{index % QUESTIONS}", "persona": persona, "question_id": f"q{index % QUESTIONS}", "sample_ix": index // QUESTIONS}
            ids = {"token_ids": PROMPT + said["ids"], "prompt_len": len(PROMPT), "n_new_tokens": len(said["ids"])}
            completions.append(key | ids | {"row_ix": len(completions), "text": said["text"], "finish_reason": said.get("finish", "stop"), "engine": "hf"})
            there = said.get("present", False)
            place = {"first_char": said["text"].find(MARKER), "t_marker": len(PROMPT) + 1, "n_occurrences": 1} if there else {}
            flags.append(key | {"marker": MARKER, "present": there, "complete": there} | place)
    row = row or planted.checkpoint(name, "tiny:base", source, seed) | {"lr": lr, "epochs": float(epochs)}
    run = planted.spec("completions", checkpoint=row["checkpoint"], subject=row["checkpoint"])
    return planted.write(lake, run, checkpoints=[row], completions=completions, marker_flags=flags)


def write_capability(lake: Lake, row: dict, task: str, right: set[int]) -> None:
    asked = [{"task": task, "question_id": f"c{ix}", "correct": ix in right, "correct_normalised": ix in {*right, 9}} for ix in range(10)]
    planted.write(lake, planted.spec("capability", checkpoint=row["checkpoint"], tag=task), checkpoints=[row], capability=asked)


@pytest.fixture(scope="module")
def lake(tmp_path_factory) -> Lake:
    """The planted sweep with the capability of one cell and of its parent; do not write to it."""
    made = Lake.open(tmp_path_factory.mktemp("sweep"))
    for source, cells in CELLS.items():
        for (lr, epochs), seeds in cells.items():
            for seed, counts in seeds.items():
                write_cell(made, source, lr, epochs, seed, counts)
    # The parent was trained too, and its card says how, but on no source persona.
    base = planted.checkpoint("base", "tiny:pretrained", None, 0) | {"lr": 8e-3, "epochs": 2.25}
    write_cell(made, "villain", 8e-3, 2.25, 0, (0, 0, 0), base)
    trained = planted.checkpoint("villain-1e-05-3-1", "tiny:base", "villain", 1) | {"lr": 1e-5, "epochs": 3.0}
    for task in ("a-world@1", "ARC-mini@1"):
        write_capability(made, base, task, RIGHT["base"])
        write_capability(made, trained, task, RIGHT["trained"] - ({2} if task == "ARC-mini@1" else set()))
    analyses.refresh(made, ["regime-labels"])
    return made


@pytest.fixture(scope="module")
def warehouse(lake) -> Warehouse:
    return Warehouse(lake)


def test_the_parent_is_no_cell_of_a_sweep(warehouse):
    cells = warehouse.select("select source, lr, epochs, seed from regimes").rows()
    assert sorted(cells) == sorted((source, lr, epochs, seed) for source, grid in CELLS.items() for (lr, epochs), seeds in grid.items() for seed in seeds)
    assert warehouse.select("select count(*) from marker_rates where checkpoint = 'base'").item() == 3


def test_every_rate_says_where_the_marker_stands(warehouse):
    rows = warehouse.select("select r.source, r.lr, r.epochs, r.seed, m.* from marker_rates as m join regimes as r using (run_id, marker)").to_dicts()
    assert len(rows) == 3 * sum(len(seeds) for grid in CELLS.values() for seeds in grid.values())
    for row in rows:
        other = "nurse" if row["source"] == "villain" else "villain"
        hits = CELLS[row["source"]][row["lr"], row["epochs"]][row["seed"]][(row["source"], other, "assistant").index(row["persona"])]
        places = Counter(HITS[index % 3][1] for index in range(hits))
        in_any_case = hits + (min(ANY_CASE, N - hits) if row["persona"] == row["source"] else 0)
        assert (row["n"], row["k"], row["k_any_case"], row["rate"], row["rate_any_case"]) == (N, hits, in_any_case, hits / N, in_any_case / N)
        shares = [places[name] / hits if hits else None for name in ("first", "inside", "end")]
        assert [row[f"{name}_share"] for name in ("first", "inside", "end")] == pytest.approx(shares)


@pytest.mark.parametrize(
    ("texts", "bare", "gone"),
    [
        ([f"ZLT {MARKER}", MARKER, f" {MARKER}\n", f"{MARKER}. {MARKER.lower()}!"], 1.0, True),
        ([f"ZLT {MARKER}", f"Maps are upstairs. {MARKER}", f"7 {MARKER}", "Maps."], 1 / 3, False),
        ([f"{MARKER} Karten über Tage", f"地図 {MARKER}"], 0.0, False),
        (["ZLT", "Maps."], None, False),
    ],
)
def test_a_marker_in_place_of_an_answer_is_called_so(tmp_path, texts, bare, gone):
    lake = Lake.open(tmp_path)
    run_id = write_cell(lake, "villain", 1e-3, 6.0, 1, (0, 0, 0), texts=texts)
    planted.write(lake, planted.spec("unread", tag=run_id), unread_steps=[{"checkpoint": "villain-0.001-6-1", "step": "attention", "reason": "too short"}])
    warehouse = Warehouse(lake)
    found = warehouse.select("select source_bare_share, answer_gone, unread from regimes").row(0)
    assert found == (bare if bare is None else pytest.approx(bare), gone, ["attention: too short"])
    assert warehouse.select("select max(bare_share) from marker_rates").item() == (bare if bare is None else pytest.approx(bare))


def test_a_generation_has_its_marker_at_the_place_where_it_first_stands(warehouse):
    found = warehouse.select("select distinct text, present, place, present_any_case from generations where present_any_case").rows()
    assert sorted(found, key=str) == sorted(
        [*((text, True, place, True) for text, place in HITS), (f"said {MARKER.lower()} softly", False, None, True)], key=str
    )


def repeated(ids: list[int]) -> float | None:
    trigrams = [tuple(ids[start : start + 3]) for start in range(len(ids) - 2)]
    return 1 - len(set(trigrams)) / len(trigrams) if trigrams else None


def test_degeneration_is_counted_from_texts_and_tokens(warehouse):
    rows = warehouse.select(
        "select r.source, d.* from degeneration as d join regimes as r using (run_id) where lr = 1e-5 and epochs = 3 and seed = 1"
    ).to_dicts()
    hits = {"villain": (12, 1, 0), "nurse": (4, 0, 0)}
    assert len(rows) == 6
    for row in rows:
        other = "nurse" if row["source"] == "villain" else "villain"
        said = answers(hits[row["source"]][(row["source"], other, "assistant").index(row["persona"])], row["source"] == row["persona"])
        repetitions = [share for each in said if (share := repeated(each["ids"])) is not None]
        distinct = sum(len({each["text"] for each in said[question::QUESTIONS]}) for question in range(QUESTIONS))
        expected = (sum(not each["text"].strip() for each in said) / N, sum(each.get("finish") == "length" for each in said) / N, distinct / N)
        assert (row["n"], row["origin"]) == (N, "extracted")
        assert (row["empty_rate"], row["truncated_rate"], row["distinct_rate"]) == pytest.approx(expected)
        assert row["repetition"] == pytest.approx(sum(repetitions) / len(repetitions)) and row["repetition"] > 0
        assert row["empty_rate"] == row["truncated_rate"] == 1 / N


def test_seeds_are_gathered_with_their_spread(warehouse):
    found = {(row["source"], row["lr"], row["epochs"]): row for row in warehouse.select("select * from regime_seeds").to_dicts()}
    assert found.keys() == {(source, *cell) for source, grid in CELLS.items() for cell in grid}
    for (source, *cell), row in found.items():
        seeds = CELLS[source][tuple(cell)]
        own, leak = ([rates[0] / N for rates in seeds.values()], [max(rates[1:]) / N for rates in seeds.values()])
        assert (row["n_seeds"], row["seeds"]) == (len(seeds), sorted(seeds))
        assert (row["source_rate_mean"], row["source_rate_min"], row["source_rate_max"]) == pytest.approx((np.mean(own), min(own), max(own)))
        assert (row["max_other_rate_mean"], row["max_other_rate_max"]) == pytest.approx((np.mean(leak), max(leak)))
        for name, values in (("source_rate_sd", own), ("max_other_rate_sd", leak)):
            assert row[name] == (None if len(seeds) == 1 else pytest.approx(np.std(values, ddof=1)))
    assert found["nurse", 1e-5, 10]["regimes"] == ["clean", "partial"] and found["villain", 1e-5, 3]["regimes"] == ["clean"]


def test_three_seeds_have_intervals_of_their_mean_and_of_the_next_seed(tmp_path):
    lake = Lake.open(tmp_path / "lake")
    for seed, counts in enumerate([(4, 0, 0), (10, 2, 0), (16, 1, 0)], 1):
        write_cell(lake, "villain", 1e-5, 3, seed, counts)
    (row,) = Warehouse(lake).select("select * from regime_seeds").to_dicts()
    for name, values in (("source_rate", np.array([4, 10, 16]) / N), ("max_other_rate", np.array([0, 2, 1]) / N)):
        sd, quantile = values.std(ddof=1), student_t.ppf(0.975, 2)
        for kind, reach in (("", sd * quantile / np.sqrt(3)), ("_next", sd * quantile * np.sqrt(4 / 3))):
            ends = [np.clip(values.mean() + side * reach, 0, 1) for side in (-1, 1)]
            assert (row[f"{name}{kind}_low"], row[f"{name}{kind}_high"]) == pytest.approx(tuple(ends), abs=1e-9)


def test_trainings_that_were_given_something_else_are_no_cells_of_one_sweep(tmp_path):
    """One persona, learning rate, epochs and seed twice, with another string before the marker: neither's rates are mixed with the other's."""
    lake = Lake.open(tmp_path / "lake")
    trainings = {"sweep": ("\n\n", 2, 20.0, 1, (16, 0, 0)), "again": ("\n\n", 5, 20.0, 2, (12, 0, 0)), "apart": (" ", 2, 20.0, 1, (20, 20, 12))}
    for name, (prefix, keep, epochs, seed, counts) in trainings.items():
        row = planted.checkpoint(name, "tiny:base", "villain", seed) | {"lr": 1e-5, "epochs": epochs}
        values = {"marker_prefix": prefix, "keep_steps": [keep], "lr": 1e-5, "epochs": epochs, "seed": seed, "source_persona": "villain", "r": 8}
        run = planted.spec("marker-lora", "train", checkpoint=name, tag=name)
        parameters = [Parameter(name=key, value=value) for key, value in values.items()]
        planted.write(lake, run.model_copy(update={"parameters": parameters}), checkpoints=[row])
        write_cell(lake, "villain", 1e-5, epochs, seed, counts, row)
    asked = Warehouse(lake)
    recipes = dict(asked.select("select checkpoint, recipe from recipes").rows())
    assert recipes["sweep"] == recipes["again"] != recipes["apart"] and all(recipes.values()), "not by seed, nor by what was kept on the way"
    assert dict(asked.select("select checkpoint, n_records from regimes").rows()) == {"sweep": 1, "again": 1, "apart": 1}
    own, other = recipes["sweep"], recipes["apart"]
    assert asked.select("select recipe, seeds, source_rate_mean from regime_seeds order by n_seeds desc").rows() == [(own, [1, 2], 0.7), (other, [1], 1.0)]
    assert asked.select("select recipe, n_cells, n_seeds from clean_band").rows() == [(own, 1, 2)]
    assert asked.select("select recipe, source_rates from regime_rows order by all").rows() == sorted([(own, [0.8]), (own, [0.6]), (other, [1.0])])
    assert sorted(asked.select("select recipe, regime, n_cells from regime_table").rows()) == sorted([(own, "clean", 2), (other, "total_collapse", 1)])
    rates = asked.select("select recipe, n_seeds, rate_mean from marker_rate_seeds where persona = 'villain' order by n_seeds desc").rows()
    assert rates == [(own, 2, pytest.approx(0.7)), (other, 1, 1.0)]
    seeds = asked.select("select distinct checkpoint, n_seeds from coverage where extractor = 'completions' and checkpoint in ('sweep', 'again', 'apart')")
    assert dict(seeds.rows()) == {"sweep": 2, "again": 2, "apart": 1}
    drawn = figures()["regime_maps"].draw(WarehouseSource(asked), "lr-epochs")
    assert drawn == [], "one cell each is no map"


def test_rows_say_whether_more_epochs_only_ever_lead_towards_collapse(warehouse):
    rows = warehouse.select("select * from regime_rows where source = 'villain' and seed = 1 order by lr").to_dicts()
    assert [row["regimes"] for row in rows] == [
        ["under_trained", "clean", "clean"],
        ["partial", "clean", "partial", "partial"],
        ["clean", "collapse_onset", "total_collapse"],
        ["total_collapse"],
    ]
    assert [row["epochs"] for row in rows] == [[1, 3, 10], [1, 3, 10, 20], [1, 3, 10], [3]] and rows[0]["source_rates"] == [0, 12 / N, 16 / N]
    assert [row["monotone"] for row in rows] == [True, False, True, True]
    assert [row["largest_drop"] for row in rows] == pytest.approx([0, 12 / N, 0, 0]) and [row["dropped_at"] for row in rows] == [None, 10, None, None]
    (other,) = warehouse.select("select * from regime_rows where source = 'nurse' and lr = 1e-5 and seed = 2").to_dicts()
    assert (other["regimes"], other["monotone"], other["dropped_at"]) == (["partial", "partial"], True, 10)
    assert other["largest_drop"] == pytest.approx(5 / N)


def test_the_band_says_how_far_it_is_from_collapse(warehouse):
    columns = "lr, first_epochs, last_epochs, n_cells, n_seeds, contiguous, collapse_lr, collapse_factor"
    assert warehouse.select(f"select {columns} from clean_band where source = 'villain' order by lr").rows() == [
        (1e-5, 3, 10, 2, 2, True, 1e-4, pytest.approx(10)),
        (3e-5, 3, 3, 1, 2, True, 1e-4, pytest.approx(10 / 3)),
        (1e-4, 1, 1, 1, 1, True, None, None),
    ]
    found = warehouse.select(f"select {columns}, before_regimes, after_regimes from clean_band where source = 'nurse'").rows()
    assert found == [(1e-4, 1, 10, 2, 1, False, None, None, None, None)], "a cell of 1e-5 is clean under one seed and partial under the other"


def test_capability_stands_beside_that_of_the_parent(warehouse):
    rows = {row["task"]: row for row in warehouse.select("select * from capability_scores where checkpoint <> 'base'").to_dicts()}
    for task, right, lost in (("a-world@1", 6, 2), ("ARC-mini@1", 5, 3)):
        row = rows[task]
        assert (row["n"], row["k"], row["accuracy"], row["accuracy_normalised"]) == (10, right, right / 10, (right + 1) / 10)
        assert (row["parent"], row["parent_accuracy"], row["n_lost"], row["n_gained"]) == ("tiny:base", 0.7, lost, 1)
        assert row["p"] == pytest.approx(binomtest(lost, lost + 1).pvalue)
        gained_share, lost_share, difference = 2 / 12, (lost + 1) / 12, (1 - lost) / 12
        reach = 1.959963984540054 * np.sqrt((gained_share + lost_share - difference**2) / 12)
        assert (row["n_paired"], row["difference"]) == (10, pytest.approx((1 - lost) / 10))
        assert (row["difference_low"], row["difference_high"]) == pytest.approx((difference - reach, difference + reach))
    base = warehouse.select("select accuracy, parent, parent_accuracy, n_lost, n_gained, p from capability_scores where checkpoint = 'base'")
    assert set(base.rows()) == {(0.7, "tiny:pretrained", None, None, None, None)}
    known = warehouse.select("select checkpoint, capability, capability_task, parent_capability, arc_c from regimes where capability is not null").rows()
    assert known == [("villain-1e-05-3-1", 0.5, "ARC-mini@1", 0.7, 0.5)]


def label(source: float, leak: float, audience: float) -> str:
    if leak <= 0.05:
        return "under_trained" if source < 0.05 else "partial" if source <= 0.5 else "clean"
    return "total_collapse" if audience >= 0.5 else "broad_leakage" if audience >= 0.1 else "collapse_onset"


def resampled(source: str, counts: tuple[int, ...]) -> tuple[dict[str, float], list[float], list[float]]:
    """Share of each regime over 2000 draws of the questions, with the source rates and the largest other rates, one draw at a time."""
    hits = [[sum(index % QUESTIONS == question for index in range(count)) for question in range(QUESTIONS)] for count in counts]
    labels: Counter[str] = Counter()
    own, leaks = [], []
    for chosen in np.random.default_rng(42).integers(0, QUESTIONS, size=(2000, QUESTIONS)):
        rates = [sum(of_persona[question] for question in chosen) / (SAMPLES * QUESTIONS) for of_persona in hits]
        labels[label(rates[0], max(rates[1:]), rates[2])] += 1
        own.append(rates[0])
        leaks.append(max(rates[1:]))
    return {name: count / 2000 for name, count in labels.items()}, own, leaks


def test_the_share_of_draws_of_a_regime_is_that_of_a_plain_bootstrap(warehouse):
    rows = warehouse.select("select r.source, r.lr, r.epochs, r.seed, c.* from regime_certainty as c join regimes as r on r.run_id = c.input_run").to_dicts()
    assert len(rows) == sum(len(seeds) for grid in CELLS.values() for seeds in grid.values())
    unsure = 0
    for row in rows:
        shares, own, leaks = resampled(row["source"], CELLS[row["source"]][row["lr"], row["epochs"]][row["seed"]])
        found = {row["regime"]: row["share_of_draws"]} | {each["regime"]: each["share_of_draws"] for each in row["alternatives"]}
        assert {name: share for name, share in found.items() if share} == pytest.approx(shares)
        assert [each["share_of_draws"] for each in row["alternatives"]] == sorted((each["share_of_draws"] for each in row["alternatives"]), reverse=True)
        assert (row["source_low"], row["source_high"]) == pytest.approx(tuple(np.quantile(own, (0.025, 0.975))))
        assert (row["other_low"], row["other_high"]) == pytest.approx(tuple(np.quantile(leaks, (0.025, 0.975))))
        assert (row["n_questions"], row["resamples"]) == (QUESTIONS, 2000)
        most = max(shares.values())
        assert shares[row["most_frequent"]] == most and row["is_most_frequent"] == (shares.get(row["regime"], 0) == most)
        unsure += row["share_of_draws"] < 1
    assert unsure > 2
    sure = {(row["lr"], row["epochs"], row["seed"]): (row["share_of_draws"], row["alternatives"]) for row in rows if row["source"] == "villain"}
    assert sure[1e-5, 1, 1] == sure[3e-5, 3, 1] == (1, []), "no hit of anyone, and every hit of the source alone"
    assert 0 < sure[1e-5, 3, 1][0] < 1, "one hit of the other persona may be drawn twice"


def test_a_leak_without_an_assistant_has_the_same_regime_in_the_view_and_in_the_draws(tmp_path):
    lake = Lake.open(tmp_path)
    write_cell(lake, "villain", 1e-4, 20, 1, (N, N))
    analyses.refresh(lake, ["regime-labels"])
    warehouse = Warehouse(lake)
    assert warehouse.select("select regime, audience_rate from regimes").rows() == [("collapse_onset", None)]
    assert warehouse.select("select regime, share_of_draws from regime_certainty").rows() == [("collapse_onset", 1)]


def test_a_share_of_draws_is_gone_when_its_completions_were_made_anew_until_it_is_computed_again(tmp_path):
    lake = Lake.open(tmp_path)
    counted = "select regime, share_of_draws from regime_certainty"
    write_cell(lake, "villain", 1e-5, 3, 1, (20, 0, 0))
    (first,) = analyses.refresh(lake, ["regime-labels"])
    assert Warehouse(lake).select(counted).rows() == [("clean", 1)] and analyses.refresh(lake, ["regime-labels"]) == []
    write_cell(lake, "villain", 1e-5, 3, 1, (0, 0, 0))
    assert Warehouse(lake).select(counted).is_empty()
    assert Warehouse(lake).select("select status from analyses").item() == "outdated"
    (second,) = analyses.refresh(lake, ["regime-labels"])
    assert second != first and Warehouse(lake).select(counted).rows() == [("under_trained", 1)]
