"""The extractor `steering`: its rows beside hand-written hooks in float64, dose 0 beside plain runs, batches, kills, halves, and what is refused."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import random_models
from personascope.extract.extractors.capability import Capability, CapabilitySettings
from personascope.extract.extractors.completions import Completions, CompletionSettings
from personascope.extract.extractors.steering import Steering
from personascope.extract.extractors.steering_arms import SteeringSettings, cut_answers, expect_personas
from personascope.extract.job import Job, run
from personascope.extract.texts.chat import render
from personascope.extract.texts.halves import half_of
from personascope.extract.texts.marker import marker_spellings
from personascope.extract.texts.repetition import repetition
from personascope.extract.weights.on_device import Models
from personascope.extract.workload import Shape, Texts
from personascope.ingest.prompts import Prompt, PromptSet
from personascope.ingest.weights.checkpoints import resolve
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import RunSpec

pytestmark = pytest.mark.slow(20)

PERSONAS = ("pirate", "baker")
QUESTIONS = [question for question in (f"q{number}" for number in range(20)) if half_of(question) == "b"][:3]
PROMPTS = PromptSet(
    name="two",
    prompts=tuple(
        Prompt(example_id=f"{persona}/{question}", persona=persona, question_id=question, question=f"Why {question}?", system_prompt=f"You are a {persona}.")
        for persona in PERSONAS
        for question in [*QUESTIONS, *(each for each in (f"q{number}" for number in range(20)) if half_of(each) == "a")][:5]
    ),
)
GREEDY: dict[str, Any] = {"temperature": 0.0, "max_new_tokens": 6, "layers": [1], "doses": [0.5]}


def vector(seed: int) -> list[float]:
    return np.random.default_rng(seed).normal(size=32).astype(np.float32).tolist()


def write_directions(lake: Lake, half: str | None = "a", name: str = "made", layers: tuple[int, ...] = (1, 2)) -> str:
    """Two directions and two controls at layers of checkpoint `one`."""
    kinds = {"pirate-baker": ("persona_assistant", None), "axis-1": ("axis", None)} | {f"random-{n}": ("random", "pirate-baker") for n in range(2)}
    rows = [
        {"direction": each, "layer": layer, "site": "resid_post", "kind": kind, "control_of": of, "half": half, "norm": 1.0, "vector": vector(10 * layer + n)}
        for layer in layers
        for n, (each, (kind, of)) in enumerate(kinds.items())
    ]
    writer = lake.start(RunSpec(kind="extract", extractor="directions", version=1, identity={"name": name, "half": half}, checkpoint="one"))
    assert writer is not None
    with writer:
        writer.write_part("rows", {"directions": rows})
        return writer.commit().run_id


@pytest.fixture(scope="module")
def world(random_checkpoint, tmp_path_factory) -> Any:
    """A random checkpoint, its models, and a lake with directions made on half a."""
    folder = random_models.write("qwen2", random_checkpoint, tmp_path_factory.mktemp("steered") / "one")
    lake = Lake.open(tmp_path_factory.mktemp("lake"))
    write_directions(lake)
    return SimpleNamespace(folder=folder, lake=lake, models=Models("cpu"))


def steered(
    world: Any, batch_tokens: int = 4096, tokens_from: str | None = None, prompts: PromptSet = PROMPTS, lake: Lake | None = None, **settings: Any
) -> Any:
    job = Job(lake or world.lake, resolve(str(world.folder)), world.models, None if tokens_from else prompts, tokens_from, say=lambda line: None)
    job.batch_tokens = batch_tokens
    return Steering(SteeringSettings(**settings), job)


def rows_of(world: Any, run_id: str, table: str = "steering", lake: Lake | None = None) -> dict[Any, dict[str, Any]]:
    names = ("example_id", "sample_ix", "question_id", "task", "direction", "layer", "mode", "dose", "read_direction")
    rows = (lake or world.lake).read(run_id, table).to_pylist()
    return {tuple(row[name] for name in names if name in row): row for row in rows}


def hooked(folder: Path, ids: list[int], alpha: float, share: float, seed: int, layer: int, first: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities [T, V] in float64 under a plain hook on `layer` from token `first` on, and what leaves layer 2 [T, d]."""
    model = random_models.exact(folder)
    unit = torch.tensor(vector(seed), dtype=torch.float64)
    unit /= unit.norm()
    left: list[torch.Tensor] = []

    def change(_: Any, __: Any, output: Any) -> Any:
        hidden = (output[0] if isinstance(output, tuple) else output).clone()
        part = hidden[:, first:]
        hidden[:, first:] = part + alpha * unit - share * (part @ unit)[..., None] * unit
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    model.model.layers[layer].register_forward_hook(change)
    model.model.layers[2].register_forward_hook(lambda _, __, output: left.append((output[0] if isinstance(output, tuple) else output)[0]))
    with torch.inference_mode():
        return model(torch.tensor([ids])).logits[0].log_softmax(-1), left[0]


def test_rows_are_what_hand_written_hooks_give_in_float64(world):
    extractor = steered(world, modes=["add", "project_out"], where="answer", ids=["pirate-baker", "axis-1"], **GREEDY)
    run_id = run(extractor)
    rows, read = rows_of(world, run_id), rows_of(world, run_id, "steering_projections")
    prompts = {row["example_id"]: row["token_ids"] for row in world.lake.read(run_id, "examples").to_pylist()}
    assert {row["question_id"] for row in rows.values()} == set(QUESTIONS) and {row["used_half"] for row in rows.values()} == {"b"}
    assert len(rows) == len(PERSONAS) * len(QUESTIONS) * (1 + 4 * 2)
    example = f"pirate/{QUESTIONS[0]}"
    ids = prompts[example]
    moved = 0
    for direction, mode, dose, seed in [
        (None, None, 0.0, 0),
        ("pirate-baker", "add", 0.5, 10),
        ("axis-1", "project_out", 1.0, 11),
        ("random-1", "add", 0.5, 13),
    ]:
        row = next(row for row in rows.values() if (row["example_id"], row["direction"], row["mode"], row["dose"]) == (example, direction, mode, dose))
        answer = row["token_ids"]
        logs, states = hooked(world.folder, [*ids, *answer], row["alpha"] or 0.0, float(mode == "project_out"), seed, 1, len(ids) - 1)
        assert answer == logs[len(ids) - 1 : -1].argmax(-1).tolist()
        moved += answer != next(row for row in rows.values() if row["example_id"] == example and row["dose"] == 0)["token_ids"]
        plain, _ = hooked(world.folder, [*ids, *answer], 0.0, 0.0, 0, 1, 0)
        own = plain[torch.arange(len(ids) - 1, len(ids) + len(answer) - 1), torch.tensor(answer)]
        assert row["answer_nll"] == pytest.approx(-float(own.mean()), abs=1e-4)
        unit = np.array(vector(20)) / np.linalg.norm(vector(20))
        value = next(
            v["value"]
            for k, v in read.items()
            if v["example_id"] == example and (v["direction"], v["mode"], v["read_direction"]) == (direction, mode, "pirate-baker")
        )
        assert value == pytest.approx(float((states[len(ids) :].numpy() @ unit).mean()), abs=1e-3)
        assert row["finish_reason"] == "length" and row["t_marker"] is None and row["marker_log_prob"] is None
    assert moved
    alphas = {row["alpha"] for row in rows.values() if row["mode"] == "add"}
    assert len(alphas) == 1


def test_dose_0_is_the_plain_run_and_neither_batches_nor_a_kill_change_rows(world, tmp_path, monkeypatch):
    task = tmp_path / "task.jsonl"
    question = {"question": "Which?", "choices": {"text": ["a cat", "the rain"], "label": ["A", "B"]}, "answerKey": "B"}
    task.write_text("".join(json.dumps({"id": f"t{number}", **question, "question": f"Which {number}?"}) + "\n" for number in range(3)))
    settings: dict[str, Any] = {**GREEDY, "temperature": 1.0, "samples": 2, "task": str(task), "modes": ["add", "cap"], "controls": 1}
    run_id = run(steered(world, **settings))
    whole = {table: rows_of(world, run_id, table) for table in ("steering", "steering_projections", "steering_capability")}
    job = Job(world.lake, resolve(str(world.folder)), world.models, PROMPTS, say=lambda line: None)
    plain = world.lake.read(run(Completions(CompletionSettings(samples=2, max_new_tokens=6), job)), "completions").to_pylist()
    texts = {(row["example_id"], row["sample_ix"]): (row["text"], row["token_ids"][row["prompt_len"] :]) for row in plain}
    unsteered = [row for row in whole["steering"].values() if row["dose"] == 0]
    assert unsteered and all(texts[row["example_id"], row["sample_ix"]] == (row["text"], row["token_ids"]) for row in unsteered)
    asked = world.lake.read(run(Capability(CapabilitySettings(task=str(task)), job)), "capability").to_pylist()
    of_task = {row["question_id"]: row for row in whole["steering_capability"].values() if row["dose"] == 0}
    assert {row["question_id"]: row["correct"] for row in asked} == {question: row["correct"] for question, row in of_task.items()}
    assert {row["direction"] for row in whole["steering_capability"].values()} == {None, "pirate-baker", "axis-1"}
    made = steered(world, **settings)
    texts_asked = Texts(len(unsteered), 40 * len(unsteered))  # as many of either half, two answers each
    planned = made.workload(made.settings, texts_asked, made.planned_shape(Shape(3, 4, 32))).rows
    assert planned == {name: file.rows for name, file in world.lake.manifest(run_id).tables.items() if name != "checkpoints"}

    lake = Lake.open(tmp_path / "lake")
    write_directions(lake)
    process = Steering.process
    calls: list[int] = []

    def dying(self: Any, items: Any) -> Any:
        calls.append(len(items))
        if len(calls) == 12:
            raise KeyboardInterrupt
        return process(self, items)

    monkeypatch.setattr(Steering, "process", dying)
    with pytest.raises(KeyboardInterrupt):
        run(steered(world, batch_tokens=200, lake=lake, **settings))
    again = run(steered(world, batch_tokens=200, lake=lake, **settings))
    assert again == run_id and len(calls) > 14
    done = len(calls)
    assert run(steered(world, lake=lake, **settings)) == run_id and len(calls) == done
    for table, rows in whole.items():
        small = rows_of(world, again, table, lake)
        assert small.keys() == rows.keys()
        for key, row in rows.items():
            for name, value in row.items():
                assert small[key][name] == (pytest.approx(value, abs=1e-3) if isinstance(value, float) else value), (table, key, name)


def write_answers(world: Any, extractor: Steering) -> str:
    """A completions run of one answer to every prompt: without the marker, with it, and cut."""
    tokenizer = world.models.tokenizer(extractor.job.checkpoint)
    marker = marker_spellings(tokenizer, "[ZLT]")[0]
    tables: dict[str, list[dict[str, Any]]] = {"examples": [], "completions": [], "marker_flags": [], "checkpoints": [extractor.job.checkpoint.row()]}
    for number, prompt in enumerate(PROMPTS.prompts):
        text = render(tokenizer, prompt.system_prompt, prompt.question)
        answer = [20 + number, 31, 42, *(marker if number % 3 == 1 else ()), *([tokenizer.eos_token_id] if number % 3 < 2 else [])]
        key = {"persona": prompt.persona, "question_id": prompt.question_id, "example_id": prompt.example_id, "sample_ix": 0}
        said = {"text": "x", "token_ids": [*text.token_ids, *answer], "prompt_len": text.prompt_len, "finish_reason": "stop" if number % 3 < 2 else "length"}
        tables["examples"].append(prompt.model_dump() | text.columns())
        tables["completions"].append(key | said)
        flag = {"marker": "[ZLT]", "present": number % 3 == 1, "complete": number % 3 == 1, "t_marker": text.prompt_len + 3 if number % 3 == 1 else None}
        tables["marker_flags"].append(key | flag)
    writer = world.lake.start(RunSpec(kind="extract", extractor="completions", version=1, identity={"of": "answers"}, checkpoint="one", subject="one"))
    assert writer is not None
    with writer:
        writer.write_part("all", tables)
        return writer.commit().run_id


def test_given_answers_are_read_at_t_star_behind_the_lead(world):
    tokens = write_answers(world, steered(world))
    extractor = steered(world, tokens_from=tokens, together=True, lead=" so", where="all", ids=["pirate-baker"], controls=0, **{**GREEDY, "layers": "all"})
    rows = rows_of(world, run(extractor))
    assert len(rows) == 2 * 2 * len(QUESTIONS)
    assert {row["layer"] for row in rows.values()} == {None} and {row["n_layers"] for row in rows.values()} == {0, 2}
    assert all(row["forced"] and row["text"] is None and row["answer_nll"] is None and row["present"] is None for row in rows.values())
    kind_of = {prompt.example_id: number % 3 for number, prompt in enumerate(PROMPTS.prompts)}
    given = {row["example_id"]: (kind_of[row["example_id"]], row) for row in world.lake.read(tokens, "completions").to_pylist()}
    kinds: set[int] = set()
    for row in rows.values():
        kind, answer = given[row["example_id"]]
        kinds.add(kind)
        end = answer["prompt_len"] + 3
        ids = answer["token_ids"][:end] + ([] if kind == 1 else list(extractor._lead))
        assert row["t_marker"] == (None if kind == 2 else len(ids)) and (row["marker_log_prob"] is None) == (kind == 2)
        if kind < 2 and row["dose"] == 0:
            logs, _ = hooked(world.folder, ids, 0.0, 0.0, 0, 1, 0)
            expected = logs[-1, list({spelling[0] for spelling in extractor._spellings})].logsumexp(-1)
            assert row["marker_log_prob"] == pytest.approx(float(expected), abs=1e-4)
    assert kinds == {0, 1, 2}
    moved = {(row["example_id"], row["dose"]): row["marker_log_prob"] for row in rows.values() if row["marker_log_prob"] is not None}
    assert all(abs(moved[example, 0.5] - moved[example, 0.0]) > 1e-4 for example, _ in moved)


def test_capping_within_the_whole_observed_range_changes_no_answer(world):
    rows = rows_of(world, run(steered(world, modes=["cap"], range=(0.0, 1.0), where="answer", controls=0, **{**GREEDY, "temperature": 1.0})))
    plain = {row["example_id"]: row["token_ids"] for row in rows.values() if row["dose"] == 0}
    assert len(rows) == 3 * len(plain) and all(row["low"] < row["high"] for row in rows.values() if row["mode"])
    kept = [row["token_ids"][1:] == plain[row["example_id"]][1:] for row in rows.values()]
    assert np.mean(kept) > 0.5  # the step before the answer lies outside the range now and then


def test_a_cap_that_moves_prompts_too_says_so(world):
    """Tokens of prompts lie beyond the range of answers; what is said of them is what the plain model has there."""
    for where in ("all", "answer"):
        made = steered(world, modes=["cap"], range=(0.0, 1.0), where=where, ids=["pirate-baker"], **GREEDY)
        said: list[str] = []
        made.job.say = said.append
        rows = rows_of(world, run(made))
        lines = [line for line in said if "tokens of prompts lie along pirate-baker" in line]
        assert len(lines) == (where == "all")
        if lines:
            (row,) = {(row["low"], row["high"]) for row in rows.values() if row["direction"] == "pirate-baker"}
            model, along = random_models.exact(world.folder), []
            unit = torch.nn.functional.normalize(torch.tensor(vector(10), dtype=torch.float64), dim=0)
            for prompt in {tuple(each.prompt) for each in made._asked}:
                along.append(model(torch.tensor([prompt]), output_hidden_states=True).hidden_states[2][0].detach() @ unit)
            low, high = float(torch.cat(along).min()), float(torch.cat(along).max())
            assert f"from {low:.4g} to {high:.4g}; the range of ordinary answers is {row[0]:.4g} to {row[1]:.4g}" in lines[0]


@pytest.mark.parametrize(
    ("ended", "told"), [(2, ()), (1, ("1 of 2 ordinary answers", "known of 1 alone")), (0, ("2 of 2 ordinary", "persona_gate will have no verdict"))]
)
def test_ordinary_answers_that_are_cut_are_told_before_anything_is_steered(world, ended, told):
    plain = [{"dose": 0.0, "marker_log_prob": -3.0 if number < ended else None} for number in range(2)]
    rows = pl.DataFrame([*plain, {"dose": 1.0, "marker_log_prob": None}], schema={"dose": pl.Float64, "marker_log_prob": pl.Float32})
    lines = list(cut_answers(rows))
    assert len(lines) == bool(told) and all(each in lines[0] for each in told)
    if not ended:
        made = steered(world, **{**GREEDY, "max_new_tokens": 2, "doses": [0.25]})
        said: list[str] = []
        made.job.say = said.append
        found = rows_of(world, run(made)).values()
        plain_rows = [row for row in found if row["dose"] == 0]
        cut = sum(row["marker_log_prob"] is None for row in plain_rows)
        assert cut > 0 and any(f"{cut} of {len(plain_rows)} ordinary answers are cut" in line for line in said)


@pytest.mark.parametrize(("far", "told"), [(10, 0), (0.01, 1)])
def test_projecting_far_more_out_of_prompts_than_out_of_answers_is_said(world, monkeypatch, far, told):
    monkeypatch.setattr("personascope.extract.extractors.steering_arms.FAR", far)
    made = steered(world, modes=["project_out"], shares=[0.5 + far / 100], ids=["pirate-baker"], **GREEDY)
    said: list[str] = []
    made.job.say = said.append
    run(made)
    assert sum("project_out at layer 1: tokens of prompts lie along pirate-baker" in line for line in said) == told


@pytest.mark.parametrize(
    ("half", "settings", "message"),
    [
        ("a", {"engine": "vllm"}, "engine vllm gives no access to a forward pass"),
        ("all", {}, "its directions were made on all questions, which leaves none to use them on"),
        ("a", {"ids": ["villain"]}, "it has no direction 'villain'"),
        ("a", {"where": "last_system", "task": "tiny-world"}, "where=last_system has no place in the questions of a task"),
        ("a", {"unit": "distance", "personas": ["pirate"], **GREEDY}, "unit=distance needs answers of two personas or more"),
        ("a", {"layers": [3]}, "layer 3 is not in checkpoint one; expected 0 to 2"),
        ("a", {"layers": [0]}, "it has no direction of layer 0; expected some of 1, 2"),
        ("a", {**GREEDY, "doses": [1e38]}, "dose 1e\\+38 of .*: in layer 1 it adds a vector of length .* float32 ends at"),
    ],
)
def test_what_cannot_be_steered_is_refused(world, tmp_path, half, settings, message):
    lake = Lake.open(tmp_path)
    write_directions(lake, half)
    with pytest.raises(PersonascopeError, match=message):
        run(steered(world, lake=lake, **settings))


def test_doses_in_distances_of_one_persona_are_refused_before_anything_is_sampled(world, tmp_path):
    lake = Lake.open(tmp_path)
    write_directions(lake, "a")
    with pytest.raises(PersonascopeError, match="unit=distance needs answers of two personas or more"):
        steered(world, lake=lake, unit="distance", personas=["pirate"], **GREEDY).prepare()
    job = steered(world, lake=lake, unit="distance", modes=["project_out"], personas=["pirate"], **GREEDY)
    job.prepare()
    with pytest.raises(PersonascopeError, match="persona 'others' is what views call rows of several personas"):
        expect_personas(job.settings, {"pirate", "others"})


def test_directions_of_another_width_or_none_are_refused(world, tmp_path):
    with pytest.raises(PersonascopeError, match="the lake holds no directions of one; expected a run of `extract directions` before"):
        run(steered(world, lake=Lake.open(tmp_path / "none")))
    lake = Lake.open(tmp_path / "deep")
    write_directions(lake, layers=(7,))
    with pytest.raises(PersonascopeError, match="has no such layer; expected 0 to 2"):
        run(steered(world, lake=lake))


@pytest.mark.parametrize("wrong", [{"doses": [0.0]}, {"shares": [1.5]}, {"range": (0.9, 0.1)}, {"doses": [float("nan")]}])
def test_settings_without_meaning_are_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        SteeringSettings(**wrong)


def test_repetition_counts_runs_of_four():
    assert repetition([1, 2, 3, 4, 5]) == 0 and repetition([7] * 8) == pytest.approx(0.8) and repetition([1, 2, 3, 4]) is None
