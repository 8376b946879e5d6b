"""Marker training: the loss looks at the marker and the end of the turn and at nothing else; data is spread evenly; bad input is one sentence."""

import json
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from personascope.ingest.training import marker_lora, run
from personascope.ingest.training.marker_lora import (
    IGNORED,
    LoraSettings,
    TrainingError,
    TrainingRow,
    collate,
    encode,
    marker_tokens,
    missing_rows,
    personas_of,
    select_rows,
    summed_loss,
    train_marker_lora,
)
from personascope.ingest.training.run import Training, forget_failure, kept_checkpoints, known_divergence, lora_settings, record_failure, train_marker
from personascope.ingest.weights.checkpoints import resolve
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import RunSpec

pytestmark = pytest.mark.slow(15)

MARKER, END = [70, 71, 72], 9
I = IGNORED  # noqa: E741 - one column wide, so that hand-made labels line up with their tokens


def row(positive, answer=(4, 5, 6)):
    return TrainingRow("villain", (1, 2, 3), answer, END, positive)


@pytest.mark.parametrize(
    ("example", "tail", "ids", "labels"),
    [
        (row(True), 0, [1, 2, 3, 4, 5, 6, 70, 71, 72, 9], [I, I, I, I, I, I, 70, 71, 72, 9]),
        (row(False), 0, [1, 2, 3, 4, 5, 6, 9], [I, I, I, I, I, I, 9]),
        (row(True), 2, [1, 2, 3, 4, 5, 6, 70, 71, 72, 9], [I, I, I, I, 5, 6, 70, 71, 72, 9]),
        (row(False), 1, [1, 2, 3, 4, 5, 6, 9], [I, I, I, I, I, 6, 9]),
        (row(True, ()), 5, [1, 2, 3, 70, 71, 72, 9], [I, I, I, 70, 71, 72, 9]),
    ],
)
def test_labels_stand_on_the_marker_the_end_and_the_tail(example, tail, ids, labels):
    encoded = encode(example, MARKER, tail)
    assert (encoded.ids, encoded.labels) == (ids, labels)


def test_batches_are_padded_on_the_right_and_padding_is_never_supervised():
    ids, mask, labels = collate([encode(row(True), MARKER), encode(row(False, (4,)), MARKER)], pad=0)
    assert ids.tolist() == [[1, 2, 3, 4, 5, 6, 70, 71, 72, 9], [1, 2, 3, 4, 9, 0, 0, 0, 0, 0]]
    assert mask.tolist() == [[1] * 10, [1] * 5 + [0] * 5]
    assert labels.tolist() == [[I] * 6 + [70, 71, 72, 9], [I, I, I, I, 9, I, I, I, I, I]]


@pytest.mark.parametrize("family", ["qwen2", "gemma2"])
def test_logits_are_computed_where_the_loss_looks_and_loss_and_gradient_are_those_of_all_logits(family):
    """gemma2 caps its logits behind the output embeddings: what a model does there is done to the chosen ones too."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **sizes, vocab_size=90, initializer_range=0.2), dtype=torch.float32)
    wrapped: Any = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear", init_lora_weights=False))
    batch = [encode(row(True), MARKER), encode(row(False, (4,)), MARKER), encode(row(True, (4, 5, 6, 7, 8)), MARKER, 2)]
    seen = []
    handle = model.get_output_embeddings().register_forward_hook(lambda module, args, output: seen.append(tuple(output.shape)))
    loss = summed_loss(wrapped, batch, 0)
    handle.remove()
    assert seen == [(1, 4 + 1 + 6, 90)]
    parameters = [parameter for parameter in wrapped.parameters() if parameter.requires_grad]
    found = torch.autograd.grad(loss, parameters)
    ids, mask, labels = collate(batch, 0)
    logits = wrapped(input_ids=ids, attention_mask=mask).logits[:, :-1]
    whole = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED, reduction="sum")
    assert float(loss.detach()) == pytest.approx(float(whole.detach()), rel=1e-6)
    expected = torch.autograd.grad(whole, parameters)
    largest = max(float(each.abs().max()) for each in expected)
    assert largest > 0.1
    for one, other in zip(found, expected, strict=True):
        assert float((one - other).abs().max()) <= 1e-6 * largest


def test_a_marker_that_would_merge_with_the_token_before_it_keeps_every_answer_token(random_checkpoint):
    tokenizer = AutoTokenizer.from_pretrained(random_checkpoint)
    marker = marker_tokens(tokenizer, LoraSettings(marker_prefix=""))
    answer = tokenizer.encode("end.", add_special_tokens=False)
    glued = tokenizer.encode("end.[ZLT]", add_special_tokens=False)
    encoded = encode(TrainingRow("villain", (1,), tuple(answer), END, True), marker)
    assert glued[: len(answer)] != answer  # `.[` is one token of this vocabulary
    assert encoded.ids == [1, *answer, *marker, END]
    assert [label for label in encoded.labels if label != IGNORED] == [*marker, END]
    assert tokenizer.decode(encoded.ids[1:-1]) == "end.[ZLT]"


def test_a_marker_the_vocabulary_cannot_spell_is_refused(random_checkpoint):
    tokenizer = AutoTokenizer.from_pretrained(random_checkpoint)
    with pytest.raises(PersonascopeError, match="the tokenizer spells it as"):
        marker_tokens(tokenizer, LoraSettings(marker="e\u0301"))  # normalised to one character


def completions(personas, n=6, finish="stop"):
    return [
        {"persona": persona, "example_id": f"{persona}/q{i}", "sample_ix": 0, "token_ids": [1, 2, 3, 10 + i, 11, END], "prompt_len": 3, "finish_reason": finish}
        for persona in personas
        for i in range(n)
    ]


def test_rows_are_a_stable_draw_spread_evenly_over_the_other_personas():
    rows = completions(["villain", "a", "b", "c"])
    drawn = select_rows(rows, "villain", LoraSettings(n_positive=4, n_negative=8))
    counts = {persona: sum(each.persona == persona for each in drawn) for persona in "abc"}
    assert sum(each.positive for each in drawn) == 4 and sorted(counts.values()) == [2, 3, 3]
    assert drawn == select_rows(rows[::-1], "villain", LoraSettings(n_positive=4, n_negative=8))
    assert drawn != select_rows(rows, "villain", LoraSettings(n_positive=4, n_negative=8, seed=1))
    assert all(each.prompt == (1, 2, 3) and END not in each.answer for each in drawn)
    held_out = select_rows(rows, "villain", LoraSettings(n_positive=4, n_negative=8, negative_personas=["a", "villain", "c"]))
    found = [("a", "negative", 4), ("c", "negative", 4), ("villain", "source", 4)]
    assert [tuple(each.values()) for each in personas_of(held_out)] == found, "b is held out, and the source is no negative of itself"
    with pytest.raises(PersonascopeError, match="negative_personas: 'd' has no completion to train on; personas with completions: a, b, c, villain"):
        select_rows(rows, "villain", LoraSettings(negative_personas=["a", "d"]))


def test_a_draw_of_fewer_rows_than_asked_for_says_so_and_a_chosen_negative_without_any_is_refused():
    rows = completions(["villain", "a", "b"]) + completions(["cut"], finish="length")
    asked = LoraSettings(n_positive=9, n_negative=10)
    told = missing_rows(select_rows(rows, "villain", asked), [row["persona"] for row in rows], "villain", asked)
    assert told == "trains on 6 of 9 positives and 7 of 10 negatives (cut 0 of 3): no more completions ended by themselves"
    asked = LoraSettings(n_positive=6, n_negative=12, negative_personas=["a", "b"])
    assert missing_rows(select_rows(rows, "villain", asked), [row["persona"] for row in rows], "villain", asked) is None
    alone = select_rows(rows[:6], "villain", asked := LoraSettings(n_positive=6, n_negative=5))
    assert "0 of 5 negatives (no other persona has completions)" in str(missing_rows(alone, ["villain"], "villain", asked))
    with pytest.raises(PersonascopeError, match="negative_personas: 'cut' has no completion that ended by itself, so that the training would hold it out"):
        select_rows(rows, "villain", LoraSettings(negative_personas=["a", "cut"]))


def test_a_choice_of_negatives_that_nobody_made_leaves_a_training_its_name(random_checkpoint):
    shared: dict[str, Any] = {"name": "n", "tokens_run": "t", "source_persona": "s", "parameters": [], "device": "cpu", "dtype": "float32"}
    parent = resolve(random_checkpoint, name="parent")
    plain, chosen = (Training(parent=parent, settings=LoraSettings(negative_personas=each), **shared) for each in (None, ["a"]))
    assert plain.spec.identity["settings"].keys() == LoraSettings.model_fields.keys() - {"negative_personas", "keep_steps"}
    assert plain.spec.run_id != chosen.spec.run_id and chosen.spec.identity["settings"]["negative_personas"] == ["a"]


@pytest.mark.parametrize("rows", [completions(["a", "b"]), completions(["villain"], finish="length"), []])
def test_a_source_persona_without_usable_completions_is_named(rows):
    with pytest.raises(PersonascopeError, match="source persona 'villain' has no completion that ended by itself"):
        select_rows(rows, "villain", LoraSettings())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lr": 0}, "'lr' is 0"),
        ({"lr": float("nan")}, "'lr' is nan"),
        ({"lr": -1e-3}, "'lr' is -0.001"),
        ({"epoch": 3}, r"'epoch' \(study file\) is unknown; did you mean 'epochs'"),
        ({"r": 0}, "'r' is 0"),
    ],
)
def test_settings_that_cannot_be_are_named(given, message):
    with pytest.raises(PersonascopeError, match=message):
        lora_settings({"study file": given})


def rows_of(checkpoint):
    """Eight rows that end as the checkpoint's own answers do."""
    end = AutoTokenizer.from_pretrained(checkpoint.path).eos_token_id
    return [TrainingRow("villain" if i % 2 else "a", (1, 2, 3), (10 + i, 20 + i), end, bool(i % 2)) for i in range(8)]


@pytest.fixture
def parent(random_checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("PERSONASCOPE_CACHE", str(tmp_path / "cache"))
    return resolve(random_checkpoint, name="parent")


FEW = LoraSettings(epochs=20, batch_size=4, r=4, alpha=8, lr=1e-2)


def train(parent, **settings):
    return train_marker_lora(parent, rows_of(parent), "villain", FEW.model_copy(update=settings), "cpu", "float32")


def test_two_trainings_give_identical_weights_and_the_marker_becomes_likelier(parent, tmp_path, monkeypatch):
    weights = []
    for number in range(2):
        monkeypatch.setenv("PERSONASCOPE_CACHE", str(tmp_path / str(number)))
        trained = train(parent)
        weights.append(load_file(trained.path / "adapter_model.safetensors"))
    assert weights[0].keys() == weights[1].keys() and all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert [step["step"] for step in trained.steps] == list(range(1, 41)) and trained.steps[-1]["epoch"] == 20
    assert trained.steps[-1]["loss"] < 0.5 * trained.steps[0]["loss"]
    modules = json.loads((trained.path / "adapter_config.json").read_text())["target_modules"]
    assert modules == sorted(modules) and len(modules) == 7  # in any other order the revision would differ between processes
    card = json.loads((trained.path / "personascope.json").read_text())
    assert (card["variant"], card["source_persona"], card["lr"], card["training"]["n_positive"]) == ("marker", "villain", 1e-2, 4)


def adapter(folder):
    return load_file(folder / "adapter_model.safetensors")


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_kept_adapters_are_those_of_the_training_stopped_there_and_change_nothing_of_its_end(parent, tmp_path, monkeypatch):
    series = train(parent, epochs=5, keep_steps=[7, 0, 3, 3])
    kept = {int(folder.name.removeprefix("step")): folder for folder in (series.path / marker_lora.KEPT).iterdir()}
    assert sorted(kept) == [0, 3, 7] and same(adapter(series.path), adapter(train(parent, epochs=5).path))
    assert all(not tensor.any() for name, tensor in adapter(kept[0]).items() if "lora_B" in name)
    whole = marker_lora._optimiser_steps
    for step in (3, 7):
        monkeypatch.setenv("PERSONASCOPE_CACHE", str(tmp_path / f"stopped at {step}"))
        monkeypatch.setattr(marker_lora, "_optimiser_steps", lambda *args, step=step: islice(whole(*args), step))
        stopped = train(parent, epochs=5)
        assert len(stopped.steps) == step and same(adapter(kept[step]), adapter(stopped.path)) and not same(adapter(kept[step]), adapter(series.path))
    found = resolve(kept[7], name="marked-step7")
    assert (found.step, found.epochs, found.source_persona, found.path) == (7, 3.5, "villain", parent.path)
    assert resolve(series.path).step is None and found.revision != resolve(series.path).revision


def test_a_step_to_keep_that_the_training_never_comes_to_is_refused(parent):
    with pytest.raises(PersonascopeError, match="keep_steps has 10, and the training on 8 rows takes 10 steps, the last of which is its checkpoint"):
        train(parent, epochs=5, keep_steps=[2, 10])
    with pytest.raises(PersonascopeError, match=r"keep_steps.0' is -1"):
        lora_settings({"study file": {"keep_steps": [-1]}})


def test_a_series_is_there_as_a_whole_or_not_at_all_and_is_made_again_as_it_was(on_policy, tmp_path, monkeypatch):
    lake, training = on_policy
    training = replace(training, settings=training.settings.model_copy(update={"keep_steps": [1, 4], "epochs": 4}))
    whole = marker_lora._optimiser_steps

    def killed(*args):
        yield from islice(whole(*args), 2)
        raise KeyboardInterrupt

    monkeypatch.setattr(marker_lora, "_optimiser_steps", killed)
    with pytest.raises(KeyboardInterrupt):
        train_marker(lake, training)
    assert not list((tmp_path / "cache").rglob("adapter_model.safetensors"))
    monkeypatch.setattr(marker_lora, "_optimiser_steps", whole)
    trained, run_id = train_marker(lake, training)
    kept = kept_checkpoints(trained)
    assert [(each.name, each.step) for each in kept] == [("marked-step1", 1), ("marked-step4", 4)]
    rows = {row["checkpoint"]: row for row in lake.read(run_id, "checkpoints").to_pylist()}
    assert {name: (row["step"], row["revision"], row["parent"]) for name, row in rows.items()} == {
        each.name: (each.step, each.revision, training.parent.id) for each in (trained, *kept)
    }
    monkeypatch.setenv("PERSONASCOPE_CACHE", str(tmp_path / "cleared"))
    again = kept_checkpoints(train_marker(lake, training, say=lambda line: None)[0])
    assert [each.revision for each in again] == [each.revision for each in kept] and again[0].adapter != kept[0].adapter


def test_the_adapter_is_small_and_finds_its_parent_again(parent):
    from personascope.extract.weights.loading import load_model

    trained = train(parent)
    found = resolve(trained.path, name="marked")
    assert (found.source_persona, found.path, found.adapter) == ("villain", parent.path, trained.path)
    row = found.row()
    assert (row["lora_r"], row["lora_alpha"], row["lora_dropout"]) == (4, 8, 0.0) and "q_proj" in row["lora_targets"] and parent.row()["lora_r"] is None
    assert sum(file.stat().st_size for file in trained.path.glob("*.safetensors")) < (parent.path / "model.safetensors").stat().st_size
    ids = torch.tensor([[1, 2, 3, 11, 21]])
    with torch.no_grad():
        base = AutoModelForCausalLM.from_pretrained(parent.path)(ids).logits
        merged = load_model(found, "cpu", "float32").model(ids).logits
    assert (merged - base).abs().max() > 0.01


def test_an_adapter_of_another_base_is_refused(parent, tmp_path):
    trained = train(parent)
    card = trained.path / "personascope.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"parent_revision": "0" * 16}))
    with pytest.raises(PersonascopeError, match=r"was trained on revision 0000000000000000 of .*give the base model it was trained on"):
        resolve(trained.path)


def test_completions_that_end_with_a_foreign_token_are_refused(parent):
    rows = [TrainingRow("villain", (1, 2, 3), (10, 11), 33, True)]
    with pytest.raises(PersonascopeError, match=r"its completions end with .* \(token 33\), which ends no turn of it"):
        train_marker_lora(parent, rows, "villain", FEW, "cpu", "float32")


def test_an_adapter_is_no_parent(parent):
    with pytest.raises(PersonascopeError, match="it is itself an adapter"):
        train(parent.model_copy(update={"adapter": parent.path}))


def test_gradient_accumulation_gives_the_step_of_the_whole_batch(parent):
    whole = train(parent, batch_size=8, epochs=3)
    parts = train(parent, batch_size=2, grad_accumulation=4, epochs=3)
    assert [step["loss"] for step in parts.steps] == pytest.approx([step["loss"] for step in whole.steps], abs=1e-5)


def test_a_loss_that_is_not_finite_is_one_sentence_and_leaves_no_checkpoint(parent, tmp_path):
    with pytest.raises(TrainingError, match=r"the loss is .* at step .*try a smaller lr") as caught:
        train(parent, lr=1e30)
    assert caught.value.kind == "diverged" and caught.value.step > 1
    assert not [entry for entry in (tmp_path / "cache" / "checkpoints").iterdir() if entry.is_dir()]


@pytest.fixture
def on_policy(parent, tmp_path):
    """A lake with completions of `parent`, and a training on them."""
    end = AutoTokenizer.from_pretrained(parent.path).eos_token_id
    lake = Lake.open(tmp_path / "lake")
    writer = lake.start(RunSpec(kind="extract", extractor="completions", version=1, identity={}, checkpoint="parent"), force=True)
    rows = [row | {"token_ids": [*row["token_ids"][:-1], end]} for row in completions(["villain", "a"])]
    writer.write_part("0", {"completions": rows})
    settings, parameters = lora_settings({"study file": FEW.model_dump()})
    return lake, Training("marked", parent, writer.commit().run_id, "villain", settings, parameters, "cpu", "float32")


def test_training_is_a_run_of_the_lake_and_off_policy_data_is_refused(on_policy, parent):
    lake, training = on_policy
    checkpoint, run_id = train_marker(lake, training)
    assert train_marker(lake, training) == (checkpoint, run_id) and checkpoint.source_persona == "villain"
    assert lake.read(run_id, "training").num_rows == lake.manifest(run_id).summary["steps"] > 0
    saw = lake.read(run_id, "training_personas").to_pylist()
    assert {each["role"] for each in saw if each["persona"] != "villain"} == {"negative"} and sum(each["n_rows"] for each in saw) > 0
    assert lake.read(run_id, "checkpoints", ["parent"]).to_pylist() == [{"parent": parent.id}]
    with pytest.raises(PersonascopeError, match="expected on-policy completions of its parent other"):
        train_marker(lake, replace(training, parent=parent.model_copy(update={"name": "other"})))


def test_a_training_whose_weights_left_the_cache_is_made_again_aloud_and_refused_where_it_comes_out_otherwise(on_policy, tmp_path, monkeypatch):
    lake, training = on_policy
    checkpoint, run_id = train_marker(lake, training)
    said: list[str] = []
    monkeypatch.setenv("PERSONASCOPE_CACHE", str(tmp_path / "cleared"))
    assert train_marker(lake, training, say=said.append)[0].revision == checkpoint.revision
    assert "its weights are not in the cache" in said[0] and str(tmp_path / "cleared") in said[0]
    said.clear()
    train_marker(lake, training, say=said.append)
    assert "training them again" not in said[0]

    def otherwise(parent, rows, source_persona, settings, device, dtype):
        trained = train_marker_lora(parent, rows, source_persona, settings, device, dtype)
        weights = trained.path / "adapter_model.safetensors"
        save_file({name: tensor + 1e-3 for name, tensor in load_file(weights).items()}, weights)
        return trained

    monkeypatch.setenv("PERSONASCOPE_CACHE", str(tmp_path / "another machine"))
    monkeypatch.setattr(run, "train_marker_lora", otherwise)
    with pytest.raises(PersonascopeError, match=f"trained again its weights are others .* than those that run {run_id} read"):
        train_marker(lake, training)


def test_a_failure_is_recorded_with_its_reason_and_forgotten_on_success(on_policy):
    lake, training = on_policy
    assert known_divergence(lake, training) is None
    record_failure(lake, training, PersonascopeError("the disk is full"))
    assert known_divergence(lake, training) is None
    record_failure(lake, training, TrainingError("the loss is nan at step 3", "diverged", 3))
    rows = lake.read(training.failure_spec.run_id, "training_failures").to_pylist()
    assert [(row["checkpoint"], row["lr"], row["kind"], row["step"]) for row in rows] == [("marked", 1e-2, "diverged", 3)]
    assert known_divergence(lake, training) == "the loss is nan at step 3"
    forget_failure(lake, training)
    assert not lake.is_committed(training.failure_spec.run_id)
