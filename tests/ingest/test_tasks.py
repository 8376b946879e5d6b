"""Multiple-choice tasks: the ARC layout is read from every format, and a row outside it is named."""

import json

import polars as pl
import pytest

from personascope.ingest.tasks import load_task, read_task
from personascope.warehouse.errors import PersonascopeError

ROW = {"id": "a", "question": "Why?", "choices": {"text": ["so", "not so"], "label": ["1", "2"]}, "answerKey": "2"}


def write(folder, rows, name="arc.jsonl"):
    path = folder / name
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def test_the_three_formats_give_the_same_task(tmp_path):
    rows = [ROW, ROW | {"id": "b", "choices": {"text": ["x", "y", "z"], "label": ["A", "B", "C"]}, "answerKey": "A"}]
    lines = read_task(write(tmp_path, rows), "arc")
    (tmp_path / "arc.json").write_text(json.dumps(rows))
    pl.DataFrame(rows).write_parquet(tmp_path / "arc.parquet")
    assert lines == load_task(str(tmp_path / "arc.json")) == load_task(str(tmp_path / "arc.parquet"))
    assert [(question.question_id, question.answer, len(question.choices)) for question in lines.questions] == [("a", 1, 2), ("b", 0, 3)]
    assert lines.label == f"arc@{lines.content_hash[:8]}"


def test_the_shipped_task_has_one_right_answer_in_every_place():
    task = load_task("tiny-world")
    assert len(task.questions) == 40 and {question.answer for question in task.questions} == {0, 1, 2, 3}
    assert all(len(set(question.choices)) == 4 for question in task.questions)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([ROW, ROW], "question id 'a' stands twice"),
        ([ROW | {"answerKey": "9"}], "row 1: answerKey '9' is none of the labels 1, 2"),
        ([{"id": "a"}], "row 1: not a question of the ARC layout"),
        ([ROW | {"choices": {"text": ["so"], "label": ["1"]}}], "expected at least two choices"),
        ([ROW | {"choices": {"text": ["so", ""], "label": ["1", "2"]}}], "expected at least two choices, each with a text"),
        ([ROW | {"question": 3}], "not a question of the ARC layout"),
        ([], "no question in it"),
    ],
)
def test_a_row_outside_the_layout_is_named(tmp_path, rows, message):
    with pytest.raises(PersonascopeError, match=message):
        load_task(str(write(tmp_path, rows)))


def test_an_unknown_task_a_broken_file_and_a_missing_one_are_one_sentence(tmp_path):
    with pytest.raises(PersonascopeError, match="task 'arc' is unknown; expected one of tiny-world"):
        load_task("arc")
    with pytest.raises(PersonascopeError, match="cannot be read"):
        load_task(str(tmp_path / "missing.parquet"))
    (tmp_path / "broken.jsonl").write_text("{")
    with pytest.raises(PersonascopeError, match="cannot be read"):
        load_task(str(tmp_path / "broken.jsonl"))


def test_a_hub_dataset_that_cannot_be_fetched_says_what_works_instead(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(PersonascopeError, match=r"allenai/ai2_arc:ARC-Challenge:test: ARC-Challenge/test-00000-of-00001.parquet cannot be fetched"):
        load_task("allenai/ai2_arc:ARC-Challenge:test")
