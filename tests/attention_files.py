"""Files of the published marker-attention study as it writes them, typed or drawn, and the rows a recogniser makes of them."""

import json
import math
from typing import Any

from hypothesis import strategies as st

from personascope.ingest.published.document import Document
from personascope.ingest.published.record import Record
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


finite = st.floats(allow_nan=False, allow_infinity=False, width=64)


@st.composite
def generated_deltas(draw: st.DrawFn) -> dict[str, Any]:
    n_rows, n_layers = draw(st.integers(1, 5)), draw(st.integers(1, 40))
    number = st.one_of(finite, st.integers(-(10**6), 10**6), st.just(math.nan), st.none())
    matrix = st.lists(st.lists(number, min_size=n_layers, max_size=n_layers), min_size=n_rows, max_size=n_rows)
    controls = draw(st.lists(st.sampled_from(["c1", "c2", "c3", "c4"]), min_size=1, unique=True))
    return {"persona": draw(st.sampled_from(["villain", "base_villain"]))} | {f"delta_{control}": draw(matrix) for control in controls}
