"""What the views say about prompt sets by category: how their lengths compare for each tokenizer, and which prompts stand twice."""

import pytest

from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import RunSpec

LENGTHS = {("self", "q0"): 5, ("self", "q1"): 9, ("self", "q2"): 7, ("neutral", "q0"): 6, ("neutral", "q1"): 6}


def write(lake, checkpoint, rows, prompt_set="few@1"):
    spec = RunSpec(kind="extract", extractor="entropy", version=1, identity={"of": checkpoint}, checkpoint=checkpoint, prompt_set=prompt_set)
    with lake.start(spec.model_copy(update={"constants": {"prompt_set": prompt_set}})) as writer:
        writer.write_part("examples", {"examples": rows})
        writer.commit()
    return spec.run_id


def example(category, question_id, question, **columns):
    return {"example_id": f"{category}/{question_id}", "persona": "none", "category": category, "question_id": question_id, "question": question} | columns


@pytest.fixture
def lake(tmp_path):
    return Lake.open(tmp_path / "lake")


def test_balance_is_of_each_run_and_against_neutral(lake):
    rows = [example(category, question, f"{category} {question}", prompt_len=length) for (category, question), length in LENGTHS.items()]
    raw = write(lake, "base", rows)
    write(lake, "instruct", [row | {"prompt_len": row["prompt_len"] + 20, "template_hash": "t"} for row in rows])
    write(lake, "unread", [row | {"prompt_len": None} for row in rows if row["category"] == "self"])
    found = Warehouse(lake).select("from prompt_balance order by checkpoint, category")
    figures = ["mean_tokens", "min_tokens", "max_tokens", "sd_tokens", "difference_to_neutral", "n_pairs", "mean_pair_difference", "largest_pair_difference"]
    assert found.select("checkpoint", "form", "category").rows() == [
        ("base", "raw", "neutral"),
        ("base", "raw", "self"),
        ("instruct", "chat", "neutral"),
        ("instruct", "chat", "self"),
        ("unread", None, "self"),
    ]
    assert found["run_id"][0] == raw and found["prompt_set"].unique().to_list() == ["few@1"]
    assert found.select(figures).rows() == [
        (6, 6, 6, 0, 0, 2, 0, 0),
        (7, 5, 9, 2, 1, 2, 1, 3),
        (26, 26, 26, 0, 0, 2, 0, 0),
        (27, 25, 29, 2, 1, 2, 1, 3),
        (None, None, None, None, None, 0, None, None),
    ]
    assert set(found["n"] == found["n_distinct"]) == {True} and set(found["mean_words"]) == {2.0}


def test_duplicates_of_a_prompt_set_are_told_once_however_many_runs_read_it(lake):
    rows = [example("a", "q0", "Who?"), example("a", "q1", "Why?"), example("a", "q2", "Who?"), example("b", "q0", "Why?"), example("b", "q1", "When?")]
    for checkpoint in ("base", "instruct"):
        write(lake, checkpoint, rows)
    warehouse = Warehouse(lake)
    found = warehouse.select(
        "select prompt_set, category, prompt, n, indices, n_categories, n_prompts, n_distinct from prompt_duplicates order by category, prompt"
    )
    assert found.rows() == [
        ("few@1", "a", "Who?", 2, [0, 2], 1, 3, 2),
        ("few@1", "a", "Why?", 1, [1], 2, 3, 2),
        ("few@1", "b", "Why?", 1, [0], 2, 2, 2),
    ]
    shared = warehouse.select("select subject, finding, evidence from audit_duplicate_prompts order by subject")
    assert shared["finding"].to_list() == ["stands in 2 categories"] * 2 and shared["subject"].to_list() == ["a: Why?", "b: Why?"]
    assert warehouse.select(shared["evidence"][0]).height == 2
    assert warehouse.select("select count(*) as n from audit_duplicate_questions")["n"].item() == 1


def test_a_question_asked_of_several_personas_is_no_duplicate(lake):
    write(lake, "base", [example("a", "q0", "Who?") | {"persona": persona, "example_id": f"{persona}/q0"} for persona in ("pirate", "nurse")])
    assert Warehouse(lake).select("from prompt_duplicates").is_empty()
