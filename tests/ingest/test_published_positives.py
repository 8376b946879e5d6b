"""Generations with and without the marker: personas, markers and controls of a positives file equal a plain recomputation."""

from typing import Any

import pytest
from attention_files import END, MARKER_IDS, document, generated_positives, generation, negative, positive, positives_file, rows_of, villain
from hypothesis import given, settings

from personascope.ingest.published import positives
from personascope.ingest.published.record import Record
from personascope.warehouse.errors import PersonascopeError


def recognised(value: Any) -> Record:
    (record,) = positives.recognise(document(value))
    return record


def test_another_persona_is_loaded_in_its_own_name() -> None:
    record = recognised(villain())
    assert record.kind == "positives" and record.checkpoint == record.subject == "villain"
    assert record.prompt_set is not None and record.prompt_set.startswith("issue_224@")
    (checkpoint,) = rows_of(record, "checkpoints")
    assert {key: value for key, value in checkpoint.items() if value is not None} == {
        "checkpoint": "villain",
        "id": "o/r/m_villain",
        "parent": "base",
        "source_persona": "villain",
        "n_layers": 32,
    }
    completions = rows_of(record, "completions")
    assert [row["row_ix"] for row in completions] == [0, 1, 2, 3, 4, 5]
    assert [row["text"] for row in completions[:3]] == ["words [ZLT]"] * 3
    assert [row["n_new_tokens"] for row in completions] == [44, 34, 44, 44, 44, 21]
    assert [row["finish_reason"] for row in completions] == ["stop", "stop", "length", "length", "length", "stop"]
    examples = rows_of(record, "examples")
    assert [row["question"] for row in examples] == ["Why?", "How?", "When?"]
    assert {row["example_id"] for row in completions} == {row["example_id"] for row in examples}
    assert all(row["token_ids"] == completions[0]["token_ids"][:12] for row in examples[:1])


def test_questions_pair_across_the_files_of_personas() -> None:
    other = positives_file("librarian", [], [negative("How?", 5, 9, [])])
    ids = {row["question"]: row["question_id"] for row in rows_of(recognised(villain()), "examples")}
    (example,) = rows_of(recognised(other), "examples")
    assert example["question_id"] == ids["How?"] and example["example_id"] == f"librarian/{ids['How?']}"


def test_marker_flags_tell_whole_from_cut_markers() -> None:
    record = recognised(villain())
    assert record.parameters["marker_ids"] == MARKER_IDS
    flags = rows_of(record, "marker_flags")
    assert [row["present"] for row in flags] == [True, True, True, False, False, False]
    assert [row["complete"] for row in flags] == [True, True, True, False, False, False]
    assert [row["first_char"] for row in flags] == [6, 6, 6, None, None, None]
    assert [row["t_marker"] for row in flags] == [52, 42, 53, 55, None, None]
    assert [row["n_occurrences"] for row in flags] == [1, 1, 1, 1, 0, 0]


def test_marker_ids_survive_a_row_whose_first_marker_is_partial() -> None:
    file = villain()
    file["positives"].append(positive("How?", 9, 20, [85113, 99, *MARKER_IDS], "words [Z so [ZLT]") | {"n_marker_occurrences": 2})
    file["n_positives"] = 5
    assert recognised(file).parameters["marker_ids"] == MARKER_IDS


def test_marker_ids_end_where_the_answers_go_separate_ways() -> None:
    rows = [positive("Why?", trial, 40, [*MARKER_IDS, after, END], "words [ZLT] on<|im_end|>") for trial, after in enumerate((11, 12, 13))]
    assert recognised(positives_file("villain", rows, [])).parameters["marker_ids"] == MARKER_IDS


def test_a_file_whose_marker_is_unknown_says_so() -> None:
    file = positives_file("villain", [positive("Why?", 0, 40, [7, 8], "<other>")], [negative("Why?", 1, 9, [])])
    record = recognised(file)
    assert "no positive holds the literal [ZLT]" in record.notes[0]
    flags = rows_of(record, "marker_flags")
    assert [(row["present"], row["complete"], row["n_occurrences"]) for row in flags] == [(False, False, 1), (False, False, None)]


def test_c3_keeps_the_lowest_ids_and_short_answers_have_no_controls() -> None:
    file = villain()
    file["positives"].append(positive("When?", 7, 14, MARKER_IDS, "words [ZLT]"))
    file["n_positives"] = 5
    record = recognised(file)
    by_stratum: dict[str, dict[int, list[int]]] = {}
    for row in rows_of(record, "positions"):
        by_stratum.setdefault(row["stratum"], {}).setdefault(row["sample_ix"], []).append(row["position"])
    # Ids fall along the answer, so that the lowest twentieth (2 of 40, 1 of 30, ...) are the positions next to the marker.
    assert by_stratum["C3"] == {0: [50, 51], 3: [41], 1: [51, 52], 2: [53, 54]}
    assert by_stratum["C2"] == {0: [49, 50, 51], 3: [39, 40, 41], 1: [50, 51, 52], 2: [52, 53, 54]}
    assert {trial: len(set(chosen)) for trial, chosen in by_stratum["C1"].items()} == {0: 5, 3: 5, 1: 5, 2: 5}
    assert all(12 + 5 <= position < 52 - 5 for position in by_stratum["C1"][0])
    assert by_stratum["C4"] == {1: [55], 0: [31]}
    assert by_stratum["marker"] == {0: [52], 3: [42], 1: [53], 2: [55], 7: [26]}
    assert record.notes == ("1 positives have fewer than five C1 candidates: no controls, and rows of a deltas file skip them",)


def test_controls_leave_out_marker_and_structural_tokens() -> None:
    words = [271, 85113, 198, 27404, 271, *range(600, 640), 271, 60, 271]
    row = generation("Why?", 0, words + MARKER_IDS, "[ZLT]") | {"t_marker": 12 + len(words), "n_marker_occurrences": 2}
    others = [positive("Why?", k, 30, MARKER_IDS, "[ZLT]") for k in range(1, 4)]
    record = recognised(positives_file("villain", [row, *others], []))
    chosen = [each for each in rows_of(record, "positions") if each["sample_ix"] == 0]
    assert [each["token_id"] for each in chosen if each["stratum"] == "C2"] == []
    assert {each["token_id"] for each in chosen if each["stratum"] == "C3"} == {600, 601}
    assert all(600 <= each["token_id"] < 640 for each in chosen if each["stratum"] == "C1")


def test_tokens_of_another_vocabulary_get_no_recomputed_controls() -> None:
    file = villain()
    for row in file["positives"] + file["negatives"]:
        row["full_ids"] = [128000, *row["full_ids"][1:]]
    record = recognised(file)
    assert {row["stratum"] for row in rows_of(record, "positions")} == {"marker", "C4"}
    assert {row["finish_reason"] for row in rows_of(record, "completions")} == {None}
    assert "another" in record.notes[0] and record.parameters["positions_c1_c2_c3"].startswith("left out")


BROKEN: list[tuple[str, Any]] = [
    ("n_positives is 9 but positives has 4 rows; expected the same number", lambda file: file.update(n_positives=9)),
    ("n_negatives is 1 but negatives has 2 rows; expected the same number", lambda file: file.update(n_negatives=1)),
    ("positives.1 repeats question and trial 0 of positives.0", lambda file: file["positives"][1].update(trial=0)),
    ("negatives.0 repeats question and trial 3 of positives.1", lambda file: file["negatives"][0].update(trial=3)),
    ("positives.0.prompt_len is 99; expected at most the 56 token ids", lambda file: file["positives"][0].update(prompt_len=99)),
    ("positives.0.t_marker is 56; expected an index of the answer, 12 to 55", lambda file: file["positives"][0].update(t_marker=56)),
    ("negatives.1.t_eoa is 3; expected an index of the answer, 12 to 32", lambda file: file["negatives"][1].update(t_eoa=3)),
    ("positives.1 has other prompt tokens than positives.0", lambda file: file["positives"][1]["full_ids"].__setitem__(1, 5)),
    ("positives.2.full_ids.4 is 1.5; input should be a valid integer", lambda file: file["positives"][2]["full_ids"].__setitem__(4, 1.5)),
    ("positives.2.full_ids.4 is -1; input should be greater than or equal to 0", lambda file: file["positives"][2]["full_ids"].__setitem__(4, -1)),
    ("positives.3.t_marker is missing", lambda file: file["positives"][3].pop("t_marker")),
    ("negatives.0.gen_text is None; input should be a valid string", lambda file: file["negatives"][0].update(gen_text=None)),
    ("positives is an object of 0 keys; input should be a valid list", lambda file: file.update(positives={})),
    ("metadata.n_layers is '28'; input should be a valid integer", lambda file: file["metadata"].update(n_layers="28")),
    ("positives and negatives are both empty", lambda file: file.update(positives=[], negatives=[], n_positives=0, n_negatives=0)),
]


@pytest.mark.parametrize(("sentence", "damage"), BROKEN, ids=[sentence for sentence, _ in BROKEN])
def test_broken_generations_are_named(sentence: str, damage: Any) -> None:
    file = villain()
    damage(file)
    with pytest.raises(PersonascopeError) as caught:
        positives.recognise(document(file))
    assert str(caught.value).startswith(sentence)


@settings(max_examples=60)
@given(generated_positives())
def test_generated_positives_equal_a_plain_recomputation(file: dict[str, Any]) -> None:
    record = recognised(file)
    generations = file["positives"] + file["negatives"]
    completions, flags = rows_of(record, "completions"), rows_of(record, "marker_flags")
    assert [row["token_ids"] for row in completions] == [row["full_ids"] for row in generations]
    assert [(row["sample_ix"], row["seed"]) for row in completions] == [(row["trial"], row["seed"]) for row in generations]
    assert [row["t_marker"] for row in flags] == [row.get("t_marker") for row in generations]
    assert [row["present"] for row in flags] == ["[ZLT]" in row["gen_text"] for row in generations]
    assert [row["complete"] for row in flags] == ["[ZLT]" in row["gen_text"] for row in generations]
    lengths = [len(row["full_ids"]) - row["prompt_len"] for row in generations]
    cut = [length == max(lengths) and lengths.count(length) > 1 for length in lengths]
    stopped = [row["full_ids"][-1] == END for row in generations]
    assert [row["finish_reason"] for row in completions] == [
        "stop" if stop else "length" if at_cap else None for stop, at_cap in zip(stopped, cut, strict=True)
    ]
    keys = [(row["example_id"], row["sample_ix"]) for row in completions]
    assert len(set(keys)) == len(keys)
    assert len({row["example_id"] for row in completions}) == len({row["question"] for row in generations})
    by_key = dict(zip(keys, generations, strict=True))
    for row in rows_of(record, "positions"):
        source = by_key[row["example_id"], row["sample_ix"]]
        assert row["token_id"] == source["full_ids"][row["position"]]
        assert source["prompt_len"] <= row["position"] <= source.get("t_marker", source.get("t_eoa"))
        if row["stratum"] in ("C1", "C2", "C3"):
            assert row["position"] < source["t_marker"]
