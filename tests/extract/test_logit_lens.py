"""Logit lens: every figure beside the model's own hidden states in float64, at the target and at all positions, and what the targets are."""

import pytest
import torch

import random_models
from personascope.extract.extractors.logit_lens import LensSettings, LogitLens
from personascope.extract.instruments.lens import script_of
from personascope.extract.job import Job, run
from personascope.extract.weights.on_device import Models
from personascope.ingest.prompts import Prompt, PromptSet, load_prompt_set
from personascope.ingest.weights.checkpoints import resolve
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake

FLOAT32 = 1e-4  # logits of up to 20 after three layers: their round-off in float32
WORDS = ("cat", "door", "rain", "marmalade")
SET = PromptSet(
    name="words",
    prompts=tuple(
        Prompt(example_id=word, persona="none", question_id=word, question="Say the following word" * (1 + index % 2) + f": {word}", target=word)
        for index, word in enumerate(WORDS)
    ),
)


@pytest.fixture(scope="module", params=random_models.FAMILIES)
def folder(request, random_checkpoint, tmp_path_factory):
    return random_models.write(request.param, random_checkpoint, tmp_path_factory.mktemp(request.param) / "model")


def lens(lake, folder, prompts=SET, said=None, batch_tokens=4096, **settings):
    say = (lambda line: None) if said is None else said.append
    extractor = LogitLens(LensSettings(**settings), Job(lake, resolve(str(folder)), Models("cpu"), prompts, batch_tokens=batch_tokens, say=say))
    run_id = run(extractor)
    return [lake.read(run_id, name).to_pylist() for name in ("logit_lens", "predictions", "examples")] + [extractor]


def states_of(folder, ids):
    """Logits [L + 1, T, vocab] of every layer's residual through the final norm, in float64; hidden_states[-1] is normed already."""
    model = random_models.exact(folder)
    with torch.inference_mode():
        hidden = model(torch.tensor([ids]), output_hidden_states=True).hidden_states
        return torch.stack([model.lm_head(state if layer == len(hidden) - 1 else model.model.norm(state))[0] for layer, state in enumerate(hidden)])


@pytest.mark.slow(4)
@pytest.mark.parametrize("positions", ["target", "all"])
def test_every_figure_is_that_of_the_plain_hidden_states(folder, tmp_path, positions):
    rows, predictions, examples, _ = lens(Lake.open(tmp_path), folder, positions=positions, k=4)
    ids = {row["example_id"]: row["token_ids"] for row in examples}
    logits = {name: states_of(folder, tokens) for name, tokens in ids.items()}
    places = sum(map(len, ids.values())) if positions == "all" else len(ids)
    assert len(rows) == places * 4 * 4
    for row in rows:
        at = logits[row["example_id"]][row["layer"] + 1, row["position"]]
        top = at.topk(4)
        place = row["rank"] - 1
        assert (row["logit"], row["prob"]) == pytest.approx((float(top.values[place]), float(at.softmax(-1)[top.indices[place]])), abs=FLOAT32)
        assert row["token_id"] == int(top.indices[place])
        assert row["stratum"] == ("last" if row["position"] == len(ids[row["example_id"]]) - 1 else "every")
        if place == 0:
            own = at[row["target_id"]]
            surely, maybe = (int((at > own + slack).sum()) + 1 for slack in (FLOAT32, -FLOAT32))  # float32 may see a near tie either way
            assert surely <= row["target_rank"] <= maybe
            assert (row["target_logit"], row["target_prob"]) == pytest.approx((float(own), float(at.softmax(-1)[row["target_id"]])), abs=FLOAT32)
        else:
            assert row["target_id"] is row["target_rank"] is row["target_prob"] is row["target_logit"] is None
    for row in predictions:
        at = logits[row["example_id"]][-1, -1]
        assert [row["top1_id"], row["runner_up_id"]] == at.topk(2).indices.tolist()
        assert row["correct"] == (int(at.argmax()) == row["target_id"]) and row["logit_error"] is None


def test_batches_do_not_matter(folder, tmp_path):
    whole, single = (lens(Lake.open(tmp_path / name), folder, batch_tokens=size)[0] for name, size in (("whole", 4096), ("single", 1)))

    def key(row):
        return row["example_id"], row["layer"], row["rank"]

    alone = {key(row): row for row in single}
    assert len(whole) == len(single)
    for row in whole:
        assert alone[key(row)]["token_id"] == row["token_id"] and alone[key(row)]["logit"] == pytest.approx(row["logit"], abs=FLOAT32)


def test_a_target_is_what_the_tokenizer_makes_of_the_answer(random_checkpoint, tmp_path):
    _, predictions, _, extractor = lens(Lake.open(tmp_path), random_checkpoint)
    tokenizer = extractor.tokenizer
    for row in predictions:
        ids = tokenizer.encode(row["target"], add_special_tokens=False)
        assert (row["target_id"], row["n_target_tokens"], row["target_token"]) == (ids[0], len(ids), tokenizer.decode(ids[:1]))
    assert max(row["n_target_tokens"] for row in predictions) > 1


def test_a_model_that_fails_the_task_is_said_so_and_one_without_targets_is_not_judged(random_checkpoint, tmp_path):
    said: list[str] = []
    predictions = lens(Lake.open(tmp_path), random_checkpoint, said=said)[1]
    share = sum(row["correct"] for row in predictions) / len(WORDS)
    assert share < 0.5 and any(line.startswith(f"WARNING: random says the target first in {100 * share:.0f}% of 4 examples") for line in said)
    free = PromptSet(name="free", prompts=tuple(each.model_copy(update={"target": None}) for each in SET.prompts))
    said.clear()
    _, predictions, _, _ = lens(Lake.open(tmp_path / "free"), random_checkpoint, free, said=said)
    assert not any("target" in line for line in said)
    assert all(row["correct"] is None and row["target_id"] == row["top1_id"] for row in predictions)


def test_raw_prompts_take_no_system_message_and_nothing_to_read_is_refused(random_checkpoint, tmp_path):
    rows, _, examples, _ = lens(Lake.open(tmp_path / "raw"), random_checkpoint, form="raw")
    assert examples[0]["text"] == SET.prompts[0].question and rows
    spoken = PromptSet(name="spoken", prompts=tuple(each.model_copy(update={"system_prompt": "Be kind."}) for each in SET.prompts))
    with pytest.raises(PersonascopeError, match="has a system message, which form=raw has no place for"):
        lens(Lake.open(tmp_path / "spoken"), random_checkpoint, spoken, form="raw")
    with pytest.raises(PersonascopeError, match="logit_lens: nothing to read; expected --prompts NAME or --tokens-from RUN"):
        LogitLens(LensSettings(), Job(Lake.open(tmp_path), resolve(str(random_checkpoint)), Models("cpu"))).spec()


def test_scripts_are_told_apart():
    found = [script_of(text) for text in (" cat", "请输入", "кот", "ネコ", "고양이", "12!", "", "é", "Word词")]
    assert found == ["Latin", "Han", "Cyrillic", "Japanese", "Korean", None, None, "Latin", "Latin"]


def test_the_shipped_echo_set_asks_each_word_in_two_wordings():
    prompts = load_prompt_set("echo").prompts
    words = {form: sorted(each.question_id for each in prompts if each.prompt_form == form) for form in ("echo", "repeat")}
    assert words["echo"] == words["repeat"] and len(set(words["echo"])) == 44
    assert all(each.question.endswith(f" {each.target}") and each.question_id == each.target for each in prompts)
