"""Views over directions and projections beside numpy and scipy: agreement of halves, cosines between checkpoints, drift with its intervals and controls."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.store.lake import Lake

planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted_directions.py"))))


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> tuple[Warehouse, dict[str, str]]:
    lake = Lake.open(tmp_path_factory.mktemp("directions"))
    runs = planted.build(lake)
    return Warehouse(lake), runs


def test_agreement_of_halves_is_told_beside_that_of_shuffled_labels(world):
    rows = world[0].select("select * from directions_agreement where checkpoint = 'base' order by direction desc").to_dicts()
    assert [row["direction"] for row in rows] == ["villain-assistant", "poet-assistant"]
    villain, poet = rows
    assert villain["agreement"] == pytest.approx(0.9) and villain["agreement_of_all"] == pytest.approx(1.8 / 1.9) and villain["n_shuffled"] == planted.SHUFFLED
    assert villain["shuffled_mean"] == pytest.approx(0, abs=1e-6) and villain["shuffled_high"] == pytest.approx(0.4)
    assert villain["p"] == pytest.approx(1 / (1 + planted.SHUFFLED))
    assert (poet["agreement_of_all"], poet["n_shuffled"], poet["p"]) == (None, 0, None)


def test_cosines_are_those_of_numpy_within_a_checkpoint_and_between_two(world):
    rows = world[0].select("select * from direction_cosines").to_dicts()
    assert len(rows) == 2 * 2 + 2 * 2  # two directions to each other in two checkpoints, and each to its twin, in both orders
    for row in rows:
        one, other = planted.vector_of(row["checkpoint"], row["direction"]), planted.vector_of(row["other_checkpoint"], row["other_direction"])
        one, other = one.astype(np.float64), other.astype(np.float64)
        assert row["cosine"] == pytest.approx(one @ other / np.linalg.norm(one) / np.linalg.norm(other), abs=1e-9)
        assert (row["direction"] == row["other_direction"]) == (row["run_id"] != row["other_run_id"])
        assert row["random_sd"] == pytest.approx(planted.D**-0.5)
        between = row["direction"] == row["other_direction"] == "villain-assistant"
        assert row["ceiling"] == (pytest.approx(0.9) if between else None)


def means(persona: str, direction: str, step: int, moved: bool) -> np.ndarray:
    """A number per question whose answers are long enough: mean over the repeats."""
    found = []
    for question, length in zip(planted.QUESTIONS, planted.LENGTHS, strict=True):
        if length > step:
            values = [planted.values_of(persona, question, direction, sample).astype(np.float64) for sample in range(2)]
            found.append(np.mean([each[step] - moved * each[:8].mean() for each in values]))
    return np.array(found)


@pytest.mark.parametrize("step", [0, 10, 17])
def test_drift_by_token_is_that_of_scipy_over_the_questions(world, step):
    warehouse, _ = world
    rows = warehouse.select("select * from drift where stratum = 'answer' and step = $step", {"step": step}).to_dicts()
    assert len(rows) == len(planted.PERSONAS) * len(planted.DIRECTIONS)
    for row in rows:
        for name, moved in (("mean", False), ("change", True)):
            expected = means(row["persona"], row["direction"], step, moved)
            low, high = stats.t.interval(0.95, len(expected) - 1, expected.mean(), stats.sem(expected))
            told = ("low", "high") if name == "mean" else ("change_low", "change_high")
            assert [row[each] for each in (name, *told)] == pytest.approx([expected.mean(), low, high], abs=1e-6)
        assert (row["n"], row["n_questions"], row["seen"]) == (2 * len(expected), len(expected), False)
        assert row["n_controls"] == 0 and row["mean_norm"] == 10
    (risen,) = (row for row in rows if (row["persona"], row["direction"]) == ("villain", "villain-assistant"))
    assert risen["change"] == pytest.approx(0.5 * (step - 3.5), abs=0.2)


@pytest.mark.parametrize("turn", [0, 2, 4])
def test_drift_by_turn_is_that_of_scipy_over_conversations_and_paired_with_their_first_answer(world, turn):
    warehouse, runs = world
    rows = warehouse.select("select * from drift where stratum = 'turn_mean' and turn = $turn", {"turn": turn}).to_dicts()
    controls = [row for row in rows if row["kind"] == "random"]
    assert len(rows) == len(planted.PERSONAS) * (len(planted.DIRECTIONS) + planted.RANDOM)
    for row in rows:
        read = [
            [planted.turns_of(row["persona"], question, row["direction"], sample).astype(np.float64) for sample in range(2)] for question in planted.QUESTIONS
        ]
        read = [repeats for repeats in read if len(repeats[0]) > turn]
        assert (row["run_id"], row["step"], row["n"], row["n_questions"]) == (runs["conversations"], None, 2 * len(read), len(read))
        for names, since in ((("mean", "low", "high"), None), (("change", "change_low", "change_high"), 0)):
            expected = np.array([np.mean([each[turn] - (0 if since is None else each[since]) for each in repeats]) for repeats in read])
            spread = stats.t.interval(0.95, len(expected) - 1, expected.mean(), stats.sem(expected)) if expected.any() else (None, None)
            assert [row[name] for name in names] == [pytest.approx(value, abs=1e-6) for value in (expected.mean(), *spread)]
        if row["kind"] != "random":
            beside = [each["mean"] for each in controls if each["persona"] == row["persona"]]
            assert [row["control_low"], row["control_high"]] == pytest.approx(np.quantile(beside, [0.025, 0.975]), abs=1e-9)


def test_a_mean_stands_beside_those_of_control_directions(world):
    warehouse, _ = world
    rows = warehouse.select("select * from drift where stratum = 'answer_mean'").to_dicts()
    assert len(rows) == len(planted.PERSONAS) * (len(planted.DIRECTIONS) + planted.RANDOM)
    for row in rows:
        if row["kind"] == "random":
            assert row["n_controls"] is None
            continue
        controls = [each["mean"] for each in rows if each["persona"] == row["persona"] and each["kind"] == "random"]
        assert (row["n_controls"], row["step"], row["change"]) == (planted.RANDOM, None, None)
        assert [row["control_low"], row["control_high"]] == pytest.approx(np.quantile(controls, [0.025, 0.975]))


@pytest.mark.slow(3)
def test_questions_a_direction_was_made_on_stand_apart(world, tmp_path):
    lake = Lake.open(tmp_path)
    directions = planted.write_directions(lake, "base")
    planted.write_projections(lake, directions, halves=("a", "b"))
    rows = Warehouse(lake).select(
        "select seen, max(n_questions) as n from drift where direction = 'villain-assistant' and stratum = 'answer_mean' group by seen order by seen"
    )
    assert rows.rows() == [(False, 2), (True, 3)]
    (found,) = Warehouse(lake).select("select subject, finding from audit where \"check\" = 'projected_on_own_questions'").rows()
    assert found == ("base", "2 directions were read on 3 of the questions they were made on")


def asked(lake: Lake, run: str, extractor: str, texts: dict[str, str], inputs: tuple[str, ...] = (), talks: dict[str, list[str]] | None = None) -> str:
    """A run whose prompts have these questions by id, and whose conversations these messages of the user."""
    examples = [{"persona": "villain", "question_id": name, "example_id": f"villain/{name}", "question": text} for name, text in texts.items()]
    examples += [{"persona": "villain", "question_id": name, "example_id": f"villain/{name}", "question": said[-1]} for name, said in (talks or {}).items()]
    turns = [
        {"persona": "villain", "question_id": name, "example_id": f"villain/{name}", "sample_ix": 0, "turn": turn, "question": text, "text": "x"}
        for name, said in (talks or {}).items()
        for turn, text in enumerate(said)
    ]
    run_spec = planted.planted.spec(extractor, checkpoint="base", subject="base", tag=run, inputs=list(inputs))
    return planted.planted.write(lake, run_spec, examples=examples, turns=turns)


@pytest.mark.slow(5)
def test_questions_are_seen_by_their_words_and_not_by_their_ids(tmp_path):
    """Ids like q00 mean one question in one file and another in the next; a conversation has an id of its own and perhaps an old question in it."""
    lake = Lake.open(tmp_path)
    made_from = asked(lake, "made", "activations", {"q00": "What is rain?", "q01": "What is snow?", "q02": "Why?"})
    directions = planted.write_directions(lake, "base", made_from)
    read = {"q00": "what is  SNOW?", "q01": "What is hail?", "q02": "Why?", "q03": "Who?"}
    talks = {"q04": ["Hello.", "What is rain?"]}
    tokens = asked(lake, "tokens", "brought", read, talks=talks)
    run = planted.write_projections(lake, directions, halves=("a",), inputs=(tokens,))
    warehouse = Warehouse(lake)
    told = dict(warehouse.select("select question_id, asked_as from seen_questions where run_id = ?", [run]).rows())
    assert told == {"q00": "another id", "q01": "no", "q02": "this id", "q03": "no", "q04": "another id"}
    counts = "select seen, max(n_questions) from drift where direction = 'villain-assistant' and stratum = 'answer_mean' group by seen order by seen"
    assert warehouse.select(counts).rows() == [(False, 2), (True, 3)]
    for name, questions in (("other", ["q01", "q03"]), ("same", ["q00", "q01"])):
        row = {"persona": "villain", "direction": "villain-assistant", "directions_run": directions, "made_half": "a", "used_half": "all", "dose": 0.1}
        rows = [row | {"question_id": each, "example_id": f"villain/{each}", "sample_ix": 0, "mode": "add"} for each in questions]
        run_spec = planted.planted.spec("steering", checkpoint=name, subject=name, tag=name, inputs=[directions, tokens])
        planted.planted.write(lake, run_spec, steering=rows)
    steered = warehouse.select("select subject, finding from audit where \"check\" = 'steered_on_own_questions'").rows()
    sentence = "1 directions made on half a of the questions steer on half all, which has some of the same questions under other ids"
    assert steered == [("same", sentence)], "the words decide, not that every id was asked"
    (found,) = warehouse.select("select finding from audit where \"check\" = 'projected_on_own_questions'").to_series()
    assert found == "2 directions were read on 3 of the questions they were made on"


def test_conversations_of_common_beginnings_share_questions_and_those_of_a_common_word_do_not(tmp_path):
    lake = Lake.open(tmp_path)
    made_from = asked(lake, "made", "activations", {}, talks={"q00": ["Hi.", "Tell me more."], "q09": ["Where?", "Tell me more."]})
    directions = planted.write_directions(lake, "base", made_from)
    talks = {"q01": ["Hi.", "Tell me more.", "Thanks."], "q02": ["Who?", "Tell me more."], "q03": ["Hi."]}
    tokens = asked(lake, "tokens", "brought", {"q04": "where?"}, talks=talks)
    planted.write_projections(lake, directions, inputs=(tokens,))
    told = dict(Warehouse(lake).select("select question_id, asked_as from seen_questions").rows())
    assert told == {"q01": "another id", "q02": "no", "q03": "another id", "q04": "another id"}


def test_a_slice_tells_where_texts_lie_along_directions_and_whether_controls_lie_there_too(world):
    rows = world[0].select("select persona, layer, value, low, high, n, verdict from slice_directions where source = 'drift'")
    expected = world[0].select(
        """select persona, layer, mean as value, low, high, n, case when n_controls > 0 and (mean < control_low or mean > control_high)
        then 'outside what control directions do' end as verdict
        from drift where coalesce(step, turn) is null and kind not in ('random', 'random_in_span', 'shuffled')"""
    )
    assert rows.height > 0 and rows.sort(rows.columns).equals(expected.sort(rows.columns))
