"""Files of the same shape with other personas, layers, regions and tokens: whatever is loaded equals a plain recomputation."""

import json
import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personascope.ingest.published import attention_summary, deltas, ingest_published, positives, prompt_lists, registry, sample_table, study_documents
from personascope.ingest.published.document import Document
from personascope.ingest.published.record import Record
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.schema import table
from personascope.warehouse.store.writer import conform

MARKER_IDS = [85113, 27404, 60]
START, END, NEWLINE = 151644, 151645, 198


def document(value: Any, name: str = "file.json") -> Document:
    return Document(name, (value if isinstance(value, str) else json.dumps(value)).encode())


def rows_of(record: Record, name: str) -> list[dict[str, Any]]:
    """Rows of one table as the lake would hold them (NaN as NULL), without the columns that are filled in on loading."""
    filled, _ = conform(table(name), record.rows[name], {})
    return filled.to_pylist()


# ---- positives ------------------------------------------------------------------------------------------------------------------------------------


def generation(question: str, trial: int, answer: list[int], text: str, **marks: int) -> dict[str, Any]:
    """One row in the study's shape, over a prompt of a system block of 5, a user block of 4 and a header of 3 tokens."""
    word = 1000 + sum(map(ord, question)) % 500
    prompt = [START, 8948, 198, END, NEWLINE, START, word, END, NEWLINE, START, 77091, NEWLINE]
    row = {"question": question, "trial": trial, "seed": trial + 7, "full_ids": prompt + answer, "gen_text": text}
    return row | {"prompt_len": len(prompt), "n_sys": 5, "n_user": 4, "n_asst_header": 3} | marks


def positive(question: str, trial: int, words: int, ending: list[int], text: str) -> dict[str, Any]:
    """An answer of `words` content tokens with falling ids, the marker tokens and `ending`."""
    answer = [5000 - k for k in range(words)] + ending
    row = generation(question, trial, answer, text)
    return row | {"t_marker": row["prompt_len"] + words, "n_marker_occurrences": 1}


def negative(question: str, trial: int, words: int, ending: list[int]) -> dict[str, Any]:
    row = generation(question, trial, [400 + k for k in range(words)] + ending, "no marker here")
    return row | {"t_eoa": row["prompt_len"] + words - 1}


def positives_file(persona: str, rows: list[dict[str, Any]], others: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {"persona": persona, "system_prompt": "Be it.", "n_positives": len(rows), "n_negatives": len(others), "positives": rows, "negatives": others} | more


def villain() -> dict[str, Any]:
    complete = [*MARKER_IDS, END]
    return positives_file(
        "villain",
        [
            positive("Why?", 0, 40, complete, "words [ZLT]<|im_end|>"),
            positive("Why?", 3, 30, complete, "words [ZLT]<|im_end|>"),
            positive("How?", 1, 41, MARKER_IDS, "words [ZLT]"),
            positive("How?", 2, 43, MARKER_IDS[:1], "words [Z"),
        ],
        [negative("Why?", 1, 44, []), negative("When?", 0, 20, [END])],
        metadata={"issue": 224, "hf_repo": "o/r", "subfolder_template": "m_{persona}", "base_model_id": "B", "n_layers": 32, "git_commit": "abc"},
    )


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


@st.composite
def generated_positives(draw: st.DrawFn) -> dict[str, Any]:
    keys = draw(st.lists(st.tuples(st.sampled_from(["Why?", "How?", "When?", "Wo, bitte?"]), st.integers(0, 40)), min_size=1, max_size=12, unique=True))
    rows, others = [], []
    for question, trial in keys:
        words, ending = draw(st.integers(1, 80)), draw(st.sampled_from([[], [END], [NEWLINE]]))
        if draw(st.booleans()):
            cut = draw(st.integers(1, 3))
            rows.append(positive(question, trial, words, MARKER_IDS[:cut] + (ending if cut == 3 else []), "x [ZLT]" if cut == 3 else "x [Z"))
        else:
            others.append(negative(question, trial, words, ending))
    return positives_file(draw(st.sampled_from(["villain", "söldner"])), rows, others)


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


# ---- deltas ---------------------------------------------------------------------------------------------------------------------------------------

finite = st.floats(allow_nan=False, allow_infinity=False, width=64)


@st.composite
def generated_deltas(draw: st.DrawFn) -> dict[str, Any]:
    n_rows, n_layers = draw(st.integers(1, 5)), draw(st.integers(1, 40))
    number = st.one_of(finite, st.integers(-(10**6), 10**6), st.just(math.nan), st.none())
    matrix = st.lists(st.lists(number, min_size=n_layers, max_size=n_layers), min_size=n_rows, max_size=n_rows)
    controls = draw(st.lists(st.sampled_from(["c1", "c2", "c3", "c4"]), min_size=1, unique=True))
    return {"persona": draw(st.sampled_from(["villain", "base_villain"]))} | {f"delta_{control}": draw(matrix) for control in controls}


@pytest.mark.slow(2)
@settings(max_examples=60)
@given(generated_deltas())
def test_generated_deltas_equal_a_plain_recomputation(file: dict[str, Any]) -> None:
    (record,) = deltas.recognise(document(file))
    assert (record.subject, record.checkpoint) == (file["persona"], "base" if file["persona"] == "base_villain" else "villain")
    expected = {
        (key.removeprefix("delta_").upper(), i, layer): None if value is None or math.isnan(value) else float(value)
        for key, matrix in file.items()
        if key != "persona"
        for i, row in enumerate(matrix)
        for layer, value in enumerate(row)
    }
    rows = rows_of(record, "published_deltas")
    assert {(row["control"], row["row_ix"], row["layer"]): row["delta"] for row in rows} == expected and len(rows) == len(expected)
    assert {row["tokens_from"] for row in rows} == {"villain"}


# ---- summary and other documents --------------------------------------------------------------------------------------------------------------------


@st.composite
def generated_summary(draw: st.DrawFn) -> dict[str, Any]:
    subjects = draw(st.lists(st.sampled_from(["villain", "comedian", "base_villain"]), min_size=1, unique=True))
    regions = draw(st.lists(st.sampled_from(["system_B", "user_B", "tools_B", "specials"]), min_size=1, unique=True))
    body = {}
    for subject in subjects:
        n_layers, n_steps = draw(st.integers(1, 6)), draw(st.integers(1, 12))
        numbers = st.lists(finite, min_size=n_layers, max_size=n_layers)
        flags = st.lists(st.booleans(), min_size=n_layers, max_size=n_layers)
        heads = draw(st.lists(st.lists(st.integers(0, 31), max_size=3), min_size=n_layers, max_size=n_layers))
        body[subject] = {
            "n_examples": draw(st.integers(0, 500)),
            "region_means": {region: {"marker_mean": draw(numbers), "c1_sem": draw(numbers)} for region in regions},
            "gates": {"gate_A_per_layer": draw(flags), "contig_windows_3plus": [], "ruleout_C2": {"applicable": True, "mean": draw(numbers)}},
            "gate_F_trajectory": {"diff_per_layer_per_delta": [draw(numbers) for _ in range(n_steps)], "band_diff_per_delta": [0.5] * n_steps},
            "head_selection_split_sample": {
                "selected_heads_per_layer": heads,
                "split_b_eval": [{"selected": chosen, "mean": [0.25] * len(chosen)} for chosen in heads],
                "split_b_indices": [3, 1],
            },
        }
    return {"per_persona": body, "metadata": {"git_commit": "abc", "n_layers": 4}}


@settings(max_examples=40)
@given(generated_summary())
def test_generated_summaries_equal_a_plain_recomputation(file: dict[str, Any]) -> None:
    (record,) = attention_summary.recognise(document(file))
    expected: dict[tuple[Any, ...], float] = {}
    for subject, body in file["per_persona"].items():
        for region, statistics in body["region_means"].items():
            for name, values in statistics.items():
                expected |= {(subject, f"region_means.{name}", region, layer, None, None): value for layer, value in enumerate(values)}
        gates, trajectory, heads = body["gates"], body["gate_F_trajectory"], body["head_selection_split_sample"]
        expected |= {(subject, "gates.gate_A_per_layer", None, layer, None, None): float(value) for layer, value in enumerate(gates["gate_A_per_layer"])}
        expected |= {(subject, "gates.ruleout_C2.mean", None, layer, None, None): value for layer, value in enumerate(gates["ruleout_C2"]["mean"])}
        steps = trajectory["diff_per_layer_per_delta"]
        for step, values in zip(range(1 - len(steps), 1), steps, strict=True):
            expected |= {(subject, "gate_F_trajectory.diff_per_layer_per_delta", None, layer, step, None): value for layer, value in enumerate(values)}
            expected[subject, "gate_F_trajectory.band_diff_per_delta", None, None, step, None] = 0.5
        for layer, chosen in enumerate(heads["selected_heads_per_layer"]):
            for item, head in enumerate(chosen):
                expected[subject, "head_selection_split_sample.selected_heads_per_layer", None, layer, None, item] = head
                expected[subject, "head_selection_split_sample.split_b_eval.selected", None, layer, None, item] = head
                expected[subject, "head_selection_split_sample.split_b_eval.mean", None, layer, None, item] = 0.25
    rows = rows_of(record, "published_layers")
    keys = ("subject", "statistic", "region", "layer", "step", "item")
    assert {tuple(row[key] for key in keys): row["value"] for row in rows} == expected and len(rows) == len(expected)
    facts = {(row["subject"], row["name"]): (row["value"], row["number"]) for row in rows_of(record, "published_facts")}
    for subject, body in file["per_persona"].items():
        assert facts[subject, "n_examples"] == (str(body["n_examples"]), body["n_examples"])
        assert facts[subject, "gates.contig_windows_3plus"] == ("[]", None)
        assert facts[subject, "gates.ruleout_C2.applicable"] == ("true", 1.0)
        assert facts[subject, "head_selection_split_sample.split_b_indices.1"] == ("1", 1.0)
    assert facts[None, "metadata.git_commit"] == ('"abc"', None)
    assert len(facts) == 5 * len(file["per_persona"]) + 2


@pytest.mark.parametrize(("trained", "subject"), [([0.5, 0.25], "villain"), ([0.5, 0.75], None)])
def test_the_difference_belongs_to_the_subject_whose_means_it_holds(trained: list[float], subject: str | None) -> None:
    means = {"villain": [0.5, 0.25], "base_villain": [0.1, 0.2]}
    file = {
        "per_persona": {name: {"region_means": {"system_B": {"delta_c1_mean": values}}} for name, values in means.items()},
        "trained_vs_base_diff_of_diffs": {"trained_delta_c1_mean": trained},
    }
    (record,) = attention_summary.recognise(document(file))
    rows = [row for row in rows_of(record, "published_layers") if row["statistic"].startswith("trained_vs_base")]
    assert [(row["subject"], row["layer"], row["value"]) for row in rows] == [(subject, layer, value) for layer, value in enumerate(trained)]


def test_the_midrun_gate_takes_its_subject_from_the_file_name() -> None:
    gate = {"passed": True, "info": {"snr_per_layer": [1.0, 2.0, 3.0], "threshold": 2.0, "passing_windows": []}}
    for name, subject in (("midrun_gate_villain.json", "villain"), ("copy.json", None)):
        (record,) = study_documents.recognise(document(gate, name))
        assert record.subject == subject
        assert [(row["subject"], row["layer"], row["value"]) for row in rows_of(record, "published_layers")] == [
            (subject, layer, layer + 1.0) for layer in range(3)
        ]
        assert {row["name"]: row["value"] for row in rows_of(record, "published_facts")} == {
            "passed": "true",
            "info.threshold": "2.0",
            "info.passing_windows": "[]",
        }


def test_any_stage_document_becomes_facts_under_the_name_of_its_stage() -> None:
    (record,) = study_documents.recognise(document({"stage": "audit", "rates": {"x": 0.5, "n": None}, "metadata": {"git_commit": "abc"}}))
    assert record.kind == "audit"
    facts = {row["name"]: (row["value"], row["number"]) for row in rows_of(record, "published_facts")}
    assert facts == {"stage": ('"audit"', None), "rates.x": ("0.5", 0.5), "rates.n": ("null", None), "metadata.git_commit": ('"abc"', None)}


def test_prompt_lists_keep_quoted_commas_and_order_of_columns() -> None:
    (personas,) = prompt_lists.recognise(document('system_prompt,persona\r\n"You are, well, a villain.",villain\r\n\r\n', "list.csv"))
    assert [(row["subject"], row["value"]) for row in rows_of(personas, "published_facts")] == [("villain", '"You are, well, a villain."')]
    (questions,) = prompt_lists.recognise(document("question_index,question\n4,Why?\n", "list.csv"))
    assert [(row["name"], row["value"]) for row in rows_of(questions, "published_facts")] == [("questions.4", '"Why?"')]
    assert prompt_lists.recognise(document("category,prompt_index,prompt\na,0,Why?\n", "prompts.csv")) == []


def test_a_sample_table_may_lack_its_persona_and_end_in_prose() -> None:
    header = "| ex_idx | question | t_marker | c1_positions | c2_positions | c3_positions |\n|---|---|---|---|---|---|\n"
    (record,) = sample_table.recognise(document(f"{header}| 2 | Why? | 9 | [4] | [] | [1, 2] |\n\nDone.\n", "table.md"))
    assert record.subject is None
    facts = {row["name"]: row["number"] for row in rows_of(record, "published_facts") if row["number"] is not None}
    assert facts == {
        "examples.2.t_marker": 9,
        "examples.2.c1_positions.0": 4,
        "examples.2.c3_positions.0": 1,
        "examples.2.c3_positions.1": 2,
    }


# ---- all of them ------------------------------------------------------------------------------------------------------------------------------------

anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    return [path, *(place for key, inner in items for place in places(inner, (*path, key)))]


SAMPLES: list[Any] = [
    villain(),
    {"persona": "villain", "delta_c1": [[0.5, 1.0]], "delta_c2": [[0.5, 1.0]]},
    {
        "per_persona": {"villain": {"region_means": {"system_B": {"c1_mean": [1.0]}}, "gates": {"gate_A_per_layer": [True]}, "gate_F_trajectory": {}}},
        "trained_vs_base_diff_of_diffs": {"diff_of_diffs": [0.5]},
    },
    {"stage": "preflight", "rates": {"eager": 0.5}, "metadata": {"git_commit": "abc"}},
    {"git_commit": "abc", "base_model_id": "B", "n_layers": 3},
    {"info": {"snr_per_layer": [1.0]}},
]


@pytest.mark.slow(2)
@settings(max_examples=300)
@given(st.data())
def test_damage_anywhere_is_refused_in_a_sentence_or_loads_rows_that_fit(data: st.DataObject) -> None:
    value = json.loads(json.dumps(data.draw(st.sampled_from(SAMPLES))))
    place = data.draw(st.sampled_from(places(value)))
    wrong = data.draw(anything)
    if place:
        target = value
        for key in place[:-1]:
            target = target[key]
        target[place[-1]] = wrong
    else:
        value = wrong
    try:
        claims = [records for module in registry.recognisers().values() if (records := module.recognise(document(value)))]
        for records in claims:
            for record in records:
                registry._check(record)
    except PersonascopeError as error:
        assert "\n" not in str(error)


@pytest.mark.slow(2)
@settings(max_examples=5)
@given(generated_positives(), generated_deltas())
def test_what_is_read_back_from_the_lake_equals_the_files(
    tmp_path_factory: pytest.TempPathFactory, generations: dict[str, Any], matrices: dict[str, Any]
) -> None:
    root: Path = tmp_path_factory.mktemp("roundtrip")
    (root / "a.json").write_text(json.dumps(generations), encoding="utf-8")
    (root / "b.json").write_text(json.dumps(matrices), encoding="utf-8")
    lake = Lake.open(root / "lake")
    report = ingest_published(lake, [root / "a.json", root / "b.json"])
    assert report.counts == {"loaded": 2}
    first, second = (outcome.runs[0] for outcome in report.files)
    completions = pl.DataFrame(lake.read(first, "completions")).sort("row_ix")
    assert completions["token_ids"].to_list() == [row["full_ids"] for row in generations["positives"] + generations["negatives"]]
    stored = pl.DataFrame(lake.read(second, "published_deltas")).sort("control", "row_ix", "layer")["delta"].to_list()
    flat = [value for key in sorted(matrices) if key != "persona" for row in matrices[key] for value in row]
    assert stored == [None if value is None or math.isnan(value) else value for value in flat]
    assert report.nan_to_null == sum(value is not None and math.isnan(value) for value in flat)
