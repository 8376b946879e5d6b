"""Weights that give no numbers are refused by every extractor with the layer where it begins; generation_config.json decides no sample."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from personascope.extract.job import Job, run
from personascope.extract.registry import extractors
from personascope.extract.weights.engines import Request, TransformersEngine, open_engine
from personascope.extract.weights.loading import load_model
from personascope.extract.weights.on_device import Models
from personascope.ingest.prompts import load_prompt_set
from personascope.ingest.weights.checkpoints import end_of_turn_ids, resolve
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake

SETTINGS: dict[str, dict[str, Any]] = {
    "capability": {"task": "tiny-world"},
    "completions": {"personas": ["villain"], "samples": 1, "max_new_tokens": 2},
    "greedy": {"personas": ["villain"], "samples": 1, "max_new_tokens": 2, "temperature": 0},
    "logit_lens": {"personas": ["villain"]},
    "entropy": {"form": "chat"},
    "activations": {"personas": ["villain"]},
    "attributions": {"personas": ["villain"]},
    "ablations": {"personas": ["villain"], "heads": [[0, 0]]},
}
BROKEN = {
    "model.embed_tokens.weight": "from before the first layer on",
    "model.layers.1.mlp.down_proj.weight": "from layer 1 on: of the",
    "model.layers.2.self_attn.k_proj.weight": "from layer 2 on: of the",
    "model.norm.weight": "behind the last layer",
    "lm_head.weight": "the output embeddings (weight)",
}


def spoiled(source: Path, to: Path, name: str, value: float) -> Path:
    shutil.copytree(source, to)
    weights = load_file(to / "model.safetensors")
    if name.endswith("embed_tokens.weight"):
        weights[name][:] = value
    else:
        weights[name].view(-1)[0] = value
    save_file(weights, to / "model.safetensors", metadata={"format": "pt"})
    return to


def refusal(folder: Path, work: str, lake: Path, dtype: str = "float32") -> str:
    kind = extractors()["completions" if work == "greedy" else work]
    checkpoint, models = resolve(folder, name="spoiled"), Models("cpu", dtype)
    job = Job(lake=Lake.open(lake), checkpoint=checkpoint, models=models, prompts=load_prompt_set("personas"), say=lambda line: None)
    with pytest.raises(PersonascopeError) as caught:
        run(kind(kind.settings_type(**SETTINGS[work]), job))
    assert not list((lake / "runs").glob("*/run.json")) and "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("work", SETTINGS)
def test_every_extractor_refuses_a_nan_by_its_layer(random_checkpoint, tmp_path, work):
    folder = spoiled(random_checkpoint, tmp_path / "spoiled", "model.layers.1.mlp.down_proj.weight", float("nan"))
    sentence = refusal(folder, work, tmp_path / "lake")
    assert "checkpoint spoiled: its hidden states are not finite from layer 1 on" in sentence and "layers.1.mlp.down_proj.weight 1 are NaN" in sentence


@pytest.mark.slow(3)
@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_the_place_where_it_begins_is_named(random_checkpoint, tmp_path, name, value):
    sentence = refusal(spoiled(random_checkpoint, tmp_path / "spoiled", name, value), "completions", tmp_path / "lake")
    assert BROKEN[name] in sentence and name.removeprefix("model.").removeprefix("lm_head.") in sentence


@pytest.mark.parametrize(
    ("work", "name"), [("completions", "model.layers.1.mlp.down_proj.weight"), *((work, "lm_head.weight") for work in ("capability", "completions", "greedy"))]
)
def test_sums_that_leave_float16_are_refused_with_the_remedy(random_checkpoint, tmp_path, work, name):
    folder = spoiled(random_checkpoint, tmp_path / "spoiled", name, 1.0)
    weights = load_file(folder / "model.safetensors")
    save_file({**weights, name: torch.full_like(weights[name], 6e4)}, folder / "model.safetensors", metadata={"format": "pt"})
    sentence = refusal(folder, work, tmp_path / "lake", "float16")
    assert ("from layer 1 on (layers.1.mlp" if "mlp" in name else "from the output embeddings on") in sentence
    assert "range of float16 (at most 65504); load it as bfloat16 or float32 (--dtype)" in sentence


def test_padding_alone_may_hold_what_it_likes(random_checkpoint):
    model = load_model(resolve(random_checkpoint), device="cpu").model
    ids, mask = torch.tensor([[0, 5, 6], [4, 5, 6]]), torch.tensor([[0, 1, 1], [1, 1, 1]])

    def poison(module, inputs, output):
        return output.clone().index_put_((torch.tensor([0]), torch.tensor([0])), torch.full((1, 32), torch.nan))

    handle = model.model.norm.register_forward_hook(poison)
    model.get_decoder()(input_ids=ids, attention_mask=mask)
    with pytest.raises(PersonascopeError, match="not finite behind the last layer"):
        model.get_decoder()(input_ids=ids, attention_mask=torch.ones_like(mask))
    handle.remove()


LEAKS = {
    "no_repeat_ngram_size": 2,
    "suppress_tokens": [5, 6, 7],
    "begin_suppress_tokens": [9],
    "num_beams": 4,
    "num_return_sequences": 2,
    "stop_strings": ["e"],
    "repetition_penalty": 1.8,
    "temperature": 0.2,
    "top_k": 1,
    "top_p": 0.1,
    "min_p": 0.9,
    "do_sample": True,
    "forced_bos_token_id": 5,
    "forced_eos_token_id": 6,
    "bad_words_ids": [[5]],
    "sequence_bias": [[[5], 30.0]],
    "min_new_tokens": 4,
    "max_time": 0.0,
    "watermarking_config": {"bias": 2.5, "seeding_scheme": "lefthash"},
    "cache_implementation": "static",
    "output_scores": True,
    "return_dict_in_generate": True,
    "penalty_alpha": 0.6,
    "unheard_of": 1,
}


def test_only_ends_are_taken_from_the_generation_configuration(random_checkpoint, tmp_path, capsys):
    samples = {}
    for kind in ("plain", "leaking"):
        folder = shutil.copytree(random_checkpoint, tmp_path / kind)
        path = folder / "generation_config.json"
        known = json.loads(path.read_text()) | {"eos_token_id": [1, 3]}
        path.write_text(json.dumps(known | (LEAKS if kind == "leaking" else {})))
        engine = open_engine("hf", Models("cpu"), resolve(folder, name=kind))
        assert isinstance(engine, TransformersEngine) and {1, 3} <= set(engine.ends)
        requests = [Request((20, 21, 22), 7), Request((20, 21, 22, 23, 24), 8)]
        samples[kind] = [engine.sample(requests, temperature, 1.0, 12) for temperature in (0.0, 1.0)]
        error = capsys.readouterr().err
        open_engine("hf", Models("cpu"), resolve(folder, name=kind))
        assert all(f"{name} " in error for name in LEAKS) is (kind == "leaking") and ("ignored" in error) is (kind == "leaking")
        assert "ignored" not in capsys.readouterr().err
    assert samples["plain"] == samples["leaking"]


@pytest.mark.parametrize("ends", ["</s>", [1, "x"], True, 1.5])
def test_ends_that_are_no_tokens_are_refused(tmp_path, ends):
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    with pytest.raises(PersonascopeError, match="eos_token_id is"):
        end_of_turn_ids(tmp_path)
