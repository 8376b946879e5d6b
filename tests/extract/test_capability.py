"""Capability: log-probabilities equal those of one plain forward pass per choice, whatever the batch; the view tells what training lost."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM

from personascope.extract.extractors.capability import Capability, CapabilitySettings
from personascope.extract.job import Job, run
from personascope.extract.texts.chat import render
from personascope.extract.weights.on_device import Models
from personascope.ingest.tasks import load_task
from personascope.ingest.weights.checkpoints import resolve
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake


@pytest.fixture(scope="module")
def models():
    return Models(device="cpu", dtype="float32")


@pytest.fixture
def task(tmp_path):
    texts = [["Yes.", "No, not at all.", "Perhaps it is so."], ["Bread", "A long walk in the rain"]]
    rows = [
        {"id": f"q{i}", "question": f"Why {i}?", "choices": {"text": choices, "label": list("ABC")[: len(choices)]}, "answerKey": "B"}
        for i, choices in enumerate(texts)
    ]
    path = tmp_path / "small.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def extract(lake, checkpoint, models, task, batch_tokens=8192, **settings):
    job = Job(lake=lake, checkpoint=checkpoint, models=models, batch_tokens=batch_tokens, say=lambda line: None)
    return run(Capability(CapabilitySettings(task=str(task), **settings), job))


@pytest.mark.parametrize("form", ["chat", "raw"])
def test_log_probabilities_are_those_of_plain_forward_passes(tmp_path, random_checkpoint, models, task, form):
    checkpoint = resolve(random_checkpoint, name="random")
    lake = Lake.open(tmp_path / "lake")
    rows = lake.read(extract(lake, checkpoint, models, task, form=form), "capability").to_pylist()
    plain = AutoModelForCausalLM.from_pretrained(random_checkpoint)
    tokenizer = models.tokenizer(checkpoint)
    for row, question in zip(rows, load_task(str(task)).questions, strict=True):
        expected = []
        for choice in question.choices:
            if form == "chat":
                prompt, ids = list(render(tokenizer, None, question.question).token_ids), tokenizer.encode(choice, add_special_tokens=False)
            else:
                prompt, ids = tokenizer.encode(f"Question: {question.question}\nAnswer:"), tokenizer.encode(" " + choice, add_special_tokens=False)
            with torch.no_grad():
                logits = plain(torch.tensor([prompt + ids])).logits[0].double().log_softmax(-1)
            expected.append(sum(logits[len(prompt) - 1 + index, token].item() for index, token in enumerate(ids)))
        assert row["log_probs"] == pytest.approx(expected, abs=1e-4)
        per_character = [value / len(choice) for value, choice in zip(expected, question.choices, strict=True)]
        assert row["choice"] == expected.index(max(expected)) and row["choice_normalised"] == per_character.index(max(per_character))
        assert row["correct"] == (row["choice"] == 1) and row["task"].startswith("small@")


def test_the_batch_decides_nothing_and_the_run_is_recognised(tmp_path, random_checkpoint, models, task):
    checkpoint, stored = resolve(random_checkpoint, name="random"), []
    for number, batch_tokens in enumerate((1, 100_000)):
        lake = Lake.open(tmp_path / str(number))
        run_id = extract(lake, checkpoint, models, task, batch_tokens)
        assert extract(lake, checkpoint, models, task, batch_tokens) == run_id
        stored.append([row["log_probs"] for row in lake.read(run_id, "capability").to_pylist()])
    assert [value for row in stored[0] for value in row] == pytest.approx([value for row in stored[1] for value in row], abs=1e-4)


def test_a_choice_without_tokens_is_named(tmp_path, random_checkpoint, models, monkeypatch, task):
    monkeypatch.setattr(type(models.tokenizer(resolve(random_checkpoint))), "encode", lambda self, text, **rest: [])
    with pytest.raises(PersonascopeError, match=r"choice 'Yes\.' of question q0 gives no token"):
        extract(Lake.open(tmp_path / "lake"), resolve(random_checkpoint, name="random"), models, task)


def test_the_view_compares_with_the_parent_on_the_same_questions(tmp_path):
    from personascope.warehouse.store.manifest import RunSpec

    lake = Lake.open(tmp_path)
    outcomes = {"base": [True, True, True, False, True, True], "child": [True, False, False, True, False, False]}
    for name, correct in outcomes.items():
        writer = lake.start(
            RunSpec(kind="extract", extractor="capability", version=1, identity={"of": name}, checkpoint=name, constants={"task": "t@1"}), force=True
        )
        rows = [{"question_id": f"q{i}", "correct": each, "correct_normalised": each} for i, each in enumerate(correct)]
        with writer:
            writer.write_part("0", {"capability": rows, "checkpoints": [{"checkpoint": name, "id": name, "parent": "base" if name == "child" else None}]})
            writer.commit()
    scores = {row["checkpoint"]: row for row in Warehouse(lake).select("from capability_scores").to_dicts()}
    child = scores["child"]
    assert (child["n"], child["k"], child["n_lost"], child["n_gained"]) == (6, 2, 4, 1)
    assert child["accuracy"] == pytest.approx(2 / 6) and child["parent_accuracy"] == pytest.approx(5 / 6)
    assert child["p"] == pytest.approx(0.375)  # two-sided exact binomial of 1 in 5
    assert scores["base"]["parent_accuracy"] is None and scores["base"]["p"] is None
