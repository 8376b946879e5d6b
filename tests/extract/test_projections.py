"""Projections on a random checkpoint: the inner products of stored activations, whatever the batch, on the questions no direction was made on."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from personascope.extract.brought import Source, bring
from personascope.extract.extractors import projections as projecting
from personascope.extract.instruments.attention_readout import run_decoder
from personascope.extract.instruments.directions import directions_of
from personascope.extract.job import Job, run
from personascope.extract.registry import extractor, resolve_settings
from personascope.extract.texts.halves import half_of
from personascope.extract.weights.on_device import Models
from personascope.ingest.prompts import PromptSet, load_prompt_set
from personascope.ingest.weights.checkpoints import resolve
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake

pytestmark = pytest.mark.slow(15)

written = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("test_attention.py"))))
PLACES = ["layer", "site", "direction"]
SITES = ["resid_pre", "mlp_out", "resid_post"]


def extract(name: str, lake: Lake, folder: Path, settings: dict[str, Any], called: str = "random", **changes: Any) -> str:
    kind = extractor(name)
    resolved, _ = resolve_settings(kind, {"command line": settings})
    models = Models(device="cpu", dtype="float32")
    return run(kind(resolved, Job(lake=lake, checkpoint=resolve(folder, name=called), models=models, say=lambda line: None, **changes)))


class World:
    """A lake with completions, directions made of prompts on half a, and the activations of the completions."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.lake, self.folder = Lake.open(root), folder
        every = load_prompt_set("personas").of_personas(["villain", "comedian", "assistant"])
        self.prompts = PromptSet(name="few", prompts=tuple(each for each in every.prompts if each.question_id < "q06"))
        self.activations = extract("activations", self.lake, folder, {"strata": ["last"], "sites": SITES}, prompts=self.prompts)
        with pytest.raises(PersonascopeError, match=r"have the same activations at last, up to rounding, so there is no direction between them"):
            self.directions = extract("directions", self.lake, folder, {"random": 3})  # what goes into the first layer is the same last token
        self.directions = extract("directions", self.lake, folder, {"random": 3, "layers": [1, 2]})
        self.tokens = written.write_completions(self.lake, folder)

    def read(self, settings: dict[str, Any] | None = None, **changes: Any) -> pl.DataFrame:
        changes.setdefault("tokens_from", self.tokens)
        self.run_id = extract("projections", self.lake, self.folder, {"directions": [self.directions]} | (settings or {}), **changes)
        return pl.DataFrame(self.lake.read(self.run_id, "projections"))


@pytest.fixture(scope="module")
def world(tmp_path_factory, random_checkpoint) -> World:
    return World(tmp_path_factory.mktemp("projections") / "lake", random_checkpoint)


def test_projections_are_the_inner_products_of_stored_activations(world):
    strata = ["last", "last_system", "marker", "answer_mean"]
    found = world.read({"strata": strata, "controls": "tokens", "half": "all"})
    stored = extract("activations", world.lake, world.folder, {"strata": strata, "sites": SITES}, tokens_from=world.tokens)
    vectors = {
        tuple(row[name] for name in ("example_id", "sample_ix", "stratum", "layer", "site")): np.array(row["vector"], dtype=np.float64)
        for row in world.lake.read(stored, "activations").to_pylist()
    }
    units = {}
    for each in directions_of(world.lake, world.directions):
        vector = each.vector.astype(np.float64)
        units[each.id, each.layer, each.site] = vector / np.linalg.norm(vector)
    places = found.filter(pl.col("stratum").is_in(strata))
    assert len(places) == sum(key[3] > 0 for key in vectors) * 5 and set(places["direction"]) == {
        "villain-assistant",
        "comedian-assistant",
        *(f"random-000{n}" for n in range(3)),
    }
    for row in places.iter_rows(named=True):
        vector = vectors[tuple(row[name] for name in ("example_id", "sample_ix", "stratum", "layer", "site"))]
        expected = vector @ units[row["direction"], row["layer"], row["site"]]
        assert abs(row["value"] - expected) < 2e-6 * np.linalg.norm(vector)
        if row["n_positions"] == 1:
            assert row["activation_norm"] == pytest.approx(np.linalg.norm(vector), rel=1e-6)


def test_every_token_of_an_answer_is_read_and_its_mean_is_theirs(world):
    found = world.read({"tokens": "all", "strata": ["answer_mean"], "layers": [1], "half": "all"}).filter(pl.col("site") == "resid_post")
    model = AutoModelForCausalLM.from_pretrained(world.folder, dtype=torch.float32).eval()
    (unit,) = (
        each.unit.astype(np.float64) for each in directions_of(world.lake, world.directions, layers=[1], ids=["villain-assistant"]) if each.site == "resid_post"
    )
    answers = world.lake.read(world.tokens, "completions").to_pylist()
    for row in answers[:4]:
        with torch.no_grad():
            hidden = model(torch.tensor([row["token_ids"]]), output_hidden_states=True).hidden_states[2][0].double().numpy()
        mine = found.filter(example_id=row["example_id"], direction="villain-assistant")
        answer = mine.filter(stratum="answer", sample_ix=row["sample_ix"]).sort("position")
        stop = len(row["token_ids"]) - 1  # the end-of-turn token is no part of the answer
        assert answer["position"].to_list() == list(range(row["prompt_len"], stop)) and answer["step"].to_list() == list(range(len(answer)))
        assert "".join(answer["token"]) == row["text"]
        np.testing.assert_allclose(answer["value"], (hidden @ unit)[row["prompt_len"] : stop], atol=1e-5 * np.abs(hidden).max())
        (mean,) = mine.filter(stratum="answer_mean", sample_ix=row["sample_ix"])["value"]
        assert mean == pytest.approx(answer["value"].cast(pl.Float64).mean(), abs=1e-5)
        prompt = mine.filter(stratum="prompt").sort("position")
        assert prompt["sample_ix"].null_count() == len(prompt) == row["prompt_len"]
        np.testing.assert_allclose(prompt["value"], (hidden @ unit)[: row["prompt_len"]], atol=1e-5 * np.abs(hidden).max())
    assert not found.filter(pl.col("stratum") == "answer")["kind"].str.starts_with("random").any()


def test_batches_and_padding_do_not_matter(tmp_path, random_checkpoint, world):
    frames = []
    for batch_tokens in (1, 100_000):
        lake = Lake.open(tmp_path / str(batch_tokens))
        other = World(lake.root, random_checkpoint) if batch_tokens == 1 else world
        newest = {"directions": ["newest"]} if batch_tokens == 1 else {}
        frame = other.read({"strata": ["last", "answer_mean"], "controls": "tokens"} | newest, batch_tokens=batch_tokens)
        frames.append(frame.sort(*PLACES, "stratum", "example_id", "sample_ix", "position"))
    assert frames[0].drop("value", "activation_norm").equals(frames[1].drop("value", "activation_norm"))
    one, other_values = (frame["value"].to_numpy() for frame in frames)
    np.testing.assert_allclose(one, other_values, rtol=0, atol=1e-6 * float(frames[0]["activation_norm"].to_numpy().max()))


def test_the_other_half_is_read_and_a_refusal_names_why_it_cannot_be(world):
    found = world.read()
    assert set(found["half"]) == {"b"} and set(found["made_on"].drop_nulls()) == {"a"} and world.lake.manifest(world.run_id).summary["half_used"] == "b"
    assert set(found["question_id"]) == {f"q0{n}" for n in range(6) if half_of(f"q0{n}") == "b"} and set(found["stratum"]) == {"answer", "answer_mean"}
    assert world.lake.manifest(world.run_id).inputs == sorted([world.tokens, world.directions])
    assert set(world.read({"half": "all"})["half"]) == {"a", "b"}
    of_all = extract("directions", world.lake, world.folder, {"half": "all", "random": 0, "layers": [1], "activations": world.activations})
    with pytest.raises(PersonascopeError, match="its directions were made on all questions, which leaves none to use them on; expected directions of one half"):
        world.read({"directions": [of_all]})
    on_b = extract("directions", world.lake, world.folder, {"half": "b", "random": 0, "layers": [1], "activations": world.activations})
    with pytest.raises(PersonascopeError, match="made on both halves of the questions"):
        world.read({"directions": [world.directions, on_b]})
    assert set(world.read({"directions": [on_b]})["half"]) == {"a"}


def test_prompts_are_read_at_their_last_token_and_another_checkpoint_along_the_same_directions(world):
    found = world.read({"directions": [world.directions], "layers": [-1]}, prompts=world.prompts, tokens_from=None, called="twin")
    assert set(found["stratum"]) == {"last"} and set(found["checkpoint"]) == {"twin"} and set(found["layer"]) == {2}
    assert set(found["persona"]) == {"villain", "comedian", "assistant"}


TALKS = {
    "c00": ["Where are the maps?", "And the atlases?", "Thank you."],
    "c01": ["Why does ice float on water?", "So it is lighter?"],
    "c02": ["Who are you?", "What do you want?", "Is that all?"],
}


def test_the_answers_of_a_conversation_are_read_turn_by_turn_in_one_pass(world, tmp_path, monkeypatch):
    lines, talks = [], {}
    for persona, system in (("villain", "You are a villain."), ("assistant", "You are kind.")):
        for name, questions in TALKS.items():
            answers = [f"The printing press spread books {number} {persona} {question}" for number, question in enumerate(questions)]
            messages = [
                {"role": role, "content": text} for pair in zip(questions, answers, strict=True) for role, text in zip(("user", "assistant"), pair, strict=True)
            ]
            talks[f"{persona}/{name}"] = [{"role": "system", "content": system}, *messages]
            lines.append(json.dumps({"persona": persona, "question_id": name, "messages": talks[f"{persona}/{name}"], "finish_reason": "stop"}))
    (tmp_path / "talks.jsonl").write_text("\n".join(lines))
    checkpoint, models = resolve(world.folder, name="random"), Models(device="cpu", dtype="float32")
    brought = bring(world.lake, Source(tmp_path / "talks.jsonl", checkpoint), models, say=lambda line: None)
    passes: list[int] = []

    def counted(model: Any, tokens: Any, real: Any) -> None:
        passes.append(len(tokens))
        run_decoder(model, tokens, real)

    monkeypatch.setattr(projecting, "run_decoder", counted)
    found = world.read({"half": "all", "layers": [1]}, tokens_from=brought).filter(pl.col("site") == "resid_post")
    assert sum(passes) == len(talks)
    assert set(found["stratum"]) == {"answer", "answer_mean", "turn_mean"} and found.filter(pl.col("stratum") != "turn_mean")["turn"].null_count() > 0
    model = AutoModelForCausalLM.from_pretrained(world.folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(world.folder)
    units = {each.id: each.unit.astype(np.float64) for each in directions_of(world.lake, world.directions, layers=[1]) if each.site == "resid_post"}
    read = found.filter(stratum="turn_mean")
    assert read.height == 2 * (3 + 2 + 3) * len(units) and read["position"].null_count() == read.height
    for row in read.iter_rows(named=True):
        messages = talks[row["example_id"]]
        at = next(number for number, message in enumerate(messages) if message["role"] == "assistant" and message["content"].split()[5] == str(row["turn"]))
        prompt = tokenizer.apply_chat_template(messages[:at], add_generation_prompt=True, return_dict=False)
        answer = tokenizer.encode(messages[at]["content"], add_special_tokens=False)
        with torch.no_grad():  # the conversation as far as this answer, by itself
            hidden = model(torch.tensor([[*prompt, *answer]]), output_hidden_states=True).hidden_states[2][0, len(prompt) :].double().numpy()
        assert row["n_positions"] == len(answer) and row["activation_norm"] == pytest.approx(np.linalg.norm(hidden, axis=1).mean(), rel=1e-5)
        assert row["value"] == pytest.approx((hidden @ units[row["direction"]]).mean(), abs=1e-5 * np.abs(hidden).max())
    last = (
        found.filter(stratum="answer_mean")
        .join(read, on=["example_id", "direction"])
        .filter(pl.col("turn_right") == pl.col("turn_right").max().over("example_id"))
    )
    assert last["value"].equals(last["value_right"].alias("value"))
    with pytest.raises(PersonascopeError, match=f"attention: run {brought} holds conversations, and no region stands for earlier answers"):
        extract("attention", world.lake, world.folder, {}, tokens_from=brought)


@pytest.mark.parametrize(
    ("settings", "changes", "sentence"),
    [
        ({"directions": ["directions-nothing"]}, {}, "expected exactly one run"),
        ({"directions": ["newest"]}, {"called": "twin"}, "the lake holds no directions of twin; expected a run of `extract directions` before"),
        ({"ids": ["pirate"]}, {}, "has no direction 'pirate'; expected some of comedian-assistant, villain-assistant"),
        ({"layers": [3]}, {}, "layer 3 is not in checkpoint random; expected 0 to 2"),
        ({"strata": ["turn_mean"]}, {}, "has turns of a conversation, so stratum 'turn_mean' cannot be read"),
        (
            {"strata": ["turn_mean"]},
            {"tokens_from": None, "prompts": load_prompt_set("personas")},
            "stratum 'turn_mean' lies in an answer, and prompts have none",
        ),
        ({"tokens": "answer"}, {"tokens_from": None, "prompts": load_prompt_set("personas")}, "tokens=answer, and prompts have no answer"),
        ({"personas": ["nobody"]}, {}, "has no persona 'nobody'"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_sentence(world, settings, changes, sentence):
    with pytest.raises(PersonascopeError, match=sentence):
        world.read(settings, **changes)


def test_directions_of_another_width_are_refused(world, tmp_path):
    from transformers import AutoConfig

    asked = AutoConfig.from_pretrained(world.folder).to_dict() | {"hidden_size": 16, "num_hidden_layers": 2, "layer_types": None}
    AutoModelForCausalLM.from_config(AutoConfig.for_model(**asked)).save_pretrained(tmp_path / "small")
    for file in world.folder.glob("*token*"):
        (tmp_path / "small" / file.name).write_bytes(file.read_bytes())
    deep = extract("directions", world.lake, world.folder, {"layers": [2], "random": 0, "activations": world.activations})
    other = World.__new__(World)
    other.lake, other.folder, other.tokens, other.directions = world.lake, tmp_path / "small", world.tokens, deep
    with pytest.raises(PersonascopeError, match="of layer 1 has 32 numbers, and small has 16 in every vector"):
        other.read({"directions": [world.directions], "layers": [1]}, called="small")
    with pytest.raises(PersonascopeError, match="of layer 2: small has no such layer; expected 0 to 1"):
        other.read(called="small")
