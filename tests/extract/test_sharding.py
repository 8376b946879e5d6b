"""Models spread over devices: what may be typed, and what cannot be done with them. That rows stay the same is in test_contract.py."""

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from personascope.extract.weights.engines import open_engine
from personascope.extract.weights.on_device import ModelChoices, Models
from personascope.extract.weights.sharding import parse_sharding
from personascope.extract.workers import open_workers
from personascope.ingest.weights.checkpoints import resolve
from personascope.warehouse.errors import PersonascopeError

SOME_ON_DISK = (("cpu", 210_000),)


@pytest.mark.parametrize(
    ("typed", "found"),
    [(None, None), ("auto", ()), (" AUTO ", ()), ("0=70GiB, 1=500MB,cpu=2GiB", ((0, 70 * 2**30), (1, 500 * 10**6), ("cpu", 2 * 2**30)))],
)
def test_devices_are_given_memory_or_left_to_what_is_free(typed, found):
    assert parse_sharding(typed) == found


@pytest.mark.parametrize("typed", ["", "yes", "cpu", "cpu=", "cpu=3", "cpu=-1GB", "cpu=0GB", "disk=3GB", "cuda:0=3GB", "cpu=1GB,cpu=2GB", "0=1GB,,"])
def test_what_is_no_memory_of_a_device_is_refused(typed):
    with pytest.raises(PersonascopeError, match=r"--shard-model .* is no memory of a device; expected auto, or"):
        parse_sharding(typed)


def test_no_room_for_the_embeddings_and_adapters_over_fetched_layers_are_refused(random_checkpoint, tmp_path: Path):
    with pytest.raises(PersonascopeError, match="no device has room for the embeddings"):
        Models("cpu", "float32", sharding=(("cpu", 1000),)).load(resolve(random_checkpoint))
    wrapped = get_peft_model(AutoModelForCausalLM.from_pretrained(random_checkpoint), LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj"]))
    wrapped.save_pretrained(str(tmp_path / "adapter"))
    adapted = resolve(tmp_path / "adapter")
    with pytest.raises(PersonascopeError, match="no adapter can be merged into those; merge it with PEFT"):
        Models("cpu", "float32", sharding=SOME_ON_DISK).load(adapted)
    assert Models("cpu", "float32", sharding=()).load(adapted).merge_difference is not None  # all of it fits


def test_weights_that_are_not_finite_are_found_where_they_lie_on_disk(random_checkpoint, tmp_path: Path):
    folder = tmp_path / "broken"
    folder.mkdir()
    for file in random_checkpoint.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    weights = load_file(folder / "model.safetensors")
    for name in ("lm_head.weight", "model.layers.2.mlp.up_proj.weight"):
        broken = {key: value.clone() for key, value in weights.items()}
        broken[name][0, 0] = torch.nan
        save_file(broken, folder / "model.safetensors", {"format": "pt"})
        models = Models("cpu", "float32", sharding=SOME_ON_DISK)
        with pytest.raises(PersonascopeError, match=r"of the [\d,]+ numbers of .* 1 are NaN or infinite"):
            models.load(resolve(folder)).model(input_ids=torch.tensor([[1, 2, 3]]))


def test_one_process_and_one_engine_spread_a_model(random_checkpoint, monkeypatch):
    choices = ModelChoices("cpu", sharding=())
    models = choices.open()
    assert open_workers(None, choices, models, print) is None and models.device_name()[0] == "cpu, spread"
    with pytest.raises(PersonascopeError, match="expected --workers 1"):
        open_workers(2, choices, models, print)
    monkeypatch.setenv("RAY_ADDRESS", "somewhere:6379")
    with pytest.raises(PersonascopeError, match="and no RAY_ADDRESS"):
        open_workers(None, choices, models, print)
    with pytest.raises(PersonascopeError, match="expected --set tensor_parallel"):
        open_engine("vllm", models, resolve(random_checkpoint))
    with pytest.raises(PersonascopeError, match="--device cuda:1 names one"):
        ModelChoices("cuda:1", sharding=()).open()
