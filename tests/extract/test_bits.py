"""Weights in 4 or 8 bits: what is read is the rounded model, as another run under another name, said with every figure; or the work is refused."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from personascope.extract.job import Job, run
from personascope.extract.registry import extractor, resolve_settings
from personascope.extract.weights.engines import open_engine
from personascope.extract.weights.on_device import Models
from personascope.extract.weights.rounding import make_exact
from personascope.extract.weights.sharding import parse_sharding
from personascope.ingest.training.marker_lora import LoraSettings, TrainingRow, train_marker_lora
from personascope.ingest.weights.checkpoints import resolve
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.studies.model import StudyFile
from planted_tokens import few_prompts
from random_models import write

bitsandbytes = pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed: the extra `bits`")


NF4 = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")


@pytest.fixture(scope="module")
def checkpoint(random_checkpoint, tmp_path_factory) -> Path:
    """A random model of widths that are multiples of 64, as those of real ones."""
    return write("qwen2", random_checkpoint, tmp_path_factory.mktemp("wide") / "random", hidden_size=64, intermediate_size=128, head_dim=16)


def test_another_model_is_read_under_another_name_and_recorded(checkpoint, tmp_path):
    lake, stored = Lake.open(tmp_path / "lake"), resolve(checkpoint, name="random")
    rounded = resolve(checkpoint).in_bits("4bit")
    assert (rounded.name, rounded.bits) == ("random-4bit", 4) and rounded.identity != stored.identity
    settings, _ = resolve_settings(extractor("activations"), {"command line": {"layers": [1], "strata": ["last"]}})
    reader = extractor("activations")(settings, Job(lake, rounded, Models("cpu", "float32"), few_prompts(), say=lambda line: None))
    run_id = run(reader)
    assert extractor("activations")(settings, replace(reader.job, checkpoint=stored)).spec().run_id != run_id
    assert lake.read(run_id, "checkpoints", ["quantisation"]).column(0).to_pylist() == ["4 bit by bitsandbytes"]
    plain: Any = AutoModelForCausalLM.from_pretrained(checkpoint, quantization_config=NF4, device_map={"": "cpu"}, dtype=torch.float32)
    for module in plain.modules():
        module.support_avx512bf16_for_cpu = False  # products in bfloat16
    prompts = {row["example_id"]: row["token_ids"] for row in lake.read(run_id, "examples", ["example_id", "token_ids"]).to_pylist()}
    read = lake.read(run_id, "activations", ["example_id", "vector"]).to_pylist()
    assert len(read) == len(prompts) > 1
    for row in read:
        with torch.inference_mode():
            states = plain(input_ids=torch.tensor([prompts[row["example_id"]]]), output_hidden_states=True).hidden_states
        assert torch.allclose(torch.tensor(row["vector"]), states[2][0, -1], rtol=1e-3, atol=1e-3)


def test_rounded_weights_are_those_of_bitsandbytes_by_hand(checkpoint):
    """NF4: blocks of 64 weights scaled by their largest, each at the nearest of 16 levels."""
    name = "model.layers.1.mlp.up_proj"
    whole: Any = Models("cpu", "float32").load(resolve(checkpoint)).model.get_submodule(name)
    stored = whole.weight.detach()
    module: Any = Models("cpu", "float32").load(resolve(checkpoint).in_bits("4bit")).model.get_submodule(name)
    levels = module.weight.quant_state.code
    blocks = stored.flatten().view(-1, 64)
    scale = blocks.abs().amax(1, keepdim=True)
    nearest = levels[(blocks[:, :, None] / scale[:, :, None] - levels).abs().argmin(-1)] * scale
    inputs = torch.randn(5, stored.shape[1], generator=torch.Generator().manual_seed(0))
    assert torch.allclose(module(inputs), inputs @ nearest.view_as(stored).T, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_in_8_bits_weights_are_rounded_and_inputs_are_not(checkpoint, dtype):
    """Inputs with outliers a hundred times the rest: LLM.int8 would round the others by them, and each row as its neighbours have some."""
    stored: Any = Models("cpu", dtype).load(resolve(checkpoint)).model
    model: Any = Models("cpu", dtype).load(resolve(checkpoint).in_bits("8bit")).model
    inputs = torch.randn(7, 64, generator=torch.Generator().manual_seed(0))
    inputs[3, 5], inputs[:, 9] = 100, 10
    inputs = inputs.to(getattr(torch, dtype))
    near: dict[str, Any] = {"atol": 1e-4, "rtol": 1e-5} if dtype == "float32" else {"atol": 0.05, "rtol": 0.02}
    for name in ("self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj"):
        layer, whole = (each.get_submodule(f"model.layers.1.{name}") for each in (model, stored))
        half = whole.weight.half().float()  # in which it measures a row
        scales = half.abs().amax(1, keepdim=True) / 127
        levels = layer.weight.detach().float()
        assert layer.weight.dtype == torch.int8 and ((half / scales - levels).abs() < 0.5 + 127 / 2**11).all()
        expected = torch.nn.functional.linear(inputs.float(), levels * scales, None if whole.bias is None else whole.bias.float())
        together = layer(inputs)
        assert together.dtype == inputs.dtype and torch.allclose(together.float(), expected, **near)
        assert torch.allclose(torch.cat([layer(inputs[row : row + 1]) for row in range(7)]), together, **near)


def test_a_run_in_8_bits_has_rows_that_do_not_hang_on_their_neighbours(checkpoint, tmp_path):
    rounded = resolve(checkpoint).in_bits("8bit")
    assert (rounded.name, rounded.bits) == ("random-8bit", 8)
    assert len({rounded.identity, resolve(checkpoint).identity, resolve(checkpoint).in_bits("4bit").identity}) == 3
    settings, _ = resolve_settings(extractor("activations"), {"command line": {"layers": [0, 1], "strata": ["last"]}})
    vectors, runs = [], []
    for together in (8192, 1):
        lake = Lake.open(tmp_path / f"lake{together}")
        job = Job(lake, rounded, Models("cpu", "float32"), few_prompts(), batch_tokens=together, say=lambda line: None)
        runs.append(run(extractor("activations")(settings, job)))
        assert lake.read(runs[-1], "checkpoints", ["quantisation"]).column(0).to_pylist() == ["8 bit by bitsandbytes"]
        rows = lake.read(runs[-1], "activations", ["example_id", "layer", "vector"]).to_pylist()
        vectors.append({(row["example_id"], row["layer"]): torch.tensor(row["vector"]) for row in rows})
    assert runs[0] == runs[1] and vectors[0].keys() == vectors[1].keys() and len(vectors[0]) > 4
    assert all(torch.allclose(vector, vectors[1][key], rtol=1e-4, atol=1e-5) for key, vector in vectors[0].items())


def test_layers_in_8_bits_that_are_spread_over_devices_multiply_likewise(checkpoint):
    """What moves a layer's inputs to its device stands before the layer's own product."""
    model: Any = AutoModelForCausalLM.from_pretrained(
        checkpoint, quantization_config=BitsAndBytesConfig(load_in_8bit=True), device_map={"": "cpu"}, dtype=torch.float32
    )
    layer = model.get_submodule("model.layers.1.mlp.up_proj")
    inputs = torch.randn(5, 64, generator=torch.Generator().manual_seed(0))
    moved = []

    class Hook(ModelHook):
        def pre_forward(self, module, *arguments, **named):
            moved.append(module)
            return arguments, named

    add_hook_to_module(layer, Hook())
    make_exact(model, "the model")
    expected = inputs @ (layer.weight.float() * layer.weight.SCB[:, None] / 127).T
    with torch.inference_mode():
        assert torch.allclose(layer(inputs), expected, atol=1e-4) and moved == [layer]


@pytest.mark.parametrize("bits", ["4bit", "8bit"])
def test_answers_are_sampled_and_read_back(checkpoint, tmp_path, bits):
    """Sampling loads the model in inference mode, where parameters are of another kind."""
    rounded, lake = resolve(checkpoint).in_bits(bits), Lake.open(tmp_path / "lake")
    job = Job(lake, rounded, Models("cpu", "float32"), few_prompts(), say=lambda line: None)
    settings, _ = resolve_settings(extractor("completions"), {"command line": {"samples": 1, "max_new_tokens": 6, "temperature": 0.0}})
    sampled = run(extractor("completions")(settings, job))
    answers = lake.read(sampled, "completions", ["token_ids", "prompt_len"]).to_pylist()
    model: Any = Models("cpu", "float32").load(rounded).model
    assert len(answers) > 1
    for row in answers:
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([row["token_ids"]])).logits[0, row["prompt_len"] - 1 : -1]
        assert logits.argmax(-1).tolist() == row["token_ids"][row["prompt_len"] :]


def test_what_needs_whole_weights_is_refused(random_checkpoint, tmp_path: Path):
    rounded = resolve(random_checkpoint).in_bits("4bit", named=True)
    assert rounded.name == "random"
    settings, _ = resolve_settings(extractor("logit_lens"), {})
    job = Job(Lake.open(tmp_path / "lake"), rounded, Models("cpu", "float32"), few_prompts(), say=lambda line: None)
    with pytest.raises(PersonascopeError, match="extract logit_lens: it multiplies with weights of single layers, which random holds in 4 bits"):
        run(extractor("logit_lens")(settings, job))
    with pytest.raises(PersonascopeError, match="expected --set quantization=bitsandbytes"):
        open_engine("vllm", Models("cpu"), rounded)
    row = TrainingRow("villain", (1,), (2,), 3, True)
    with pytest.raises(PersonascopeError, match="training on random: it is read in 4 bits"):
        train_marker_lora(rounded, [row], "villain", LoraSettings(), "cpu", "float32")
    with pytest.raises(PersonascopeError, match="did you mean '4bit'"):
        resolve(random_checkpoint).in_bits("4bits")
    adapter = rounded.model_copy(update={"adapter": tmp_path})
    with pytest.raises(PersonascopeError, match="is an adapter, which is merged into whole weights"):
        adapter.in_bits("4bit")


def test_without_bitsandbytes_a_sentence_says_what_to_install(random_checkpoint, monkeypatch):
    monkeypatch.setattr("personascope.extract.weights.rounding.find_spec", lambda name: None)
    with pytest.raises(PersonascopeError, match=r"pip install 'personascope\[bits\]'"):
        Models("cpu").load(resolve(random_checkpoint).in_bits("4bit"))


def test_rounded_weights_that_would_lie_on_the_disk_are_refused_in_a_sentence(checkpoint):
    with pytest.raises(PersonascopeError, match="do not fit the room that --shard-model leaves"):
        Models("cpu", sharding=parse_sharding("cpu=200KB")).load(resolve(checkpoint).in_bits("4bit"))


def test_a_study_loads_a_checkpoint_in_bits_and_trains_no_such_one():
    step = {"extract": "completions", "checkpoints": ["base"]}
    train = {"train": "marker-lora", "name": "villain", "parent": "base", "source_persona": "villain", "tokens_step": "completions"}
    study: dict[str, Any] = {"name": "s", "title": "t", "about": "a", "headline": "from runs", "prompts": "personas", "views": ["runs"], "steps": [step]}
    study |= {"checkpoints": {"base": {"id": "a/b", "load_in": "4bit"}}}
    assert StudyFile.model_validate(study).checkpoints["base"].load_in == "4bit"
    whole = {"checkpoints": {"base": {"id": "a/b", "load_in": "8bit"}}}
    assert StudyFile.model_validate(study | whole).checkpoints["base"].load_in == "8bit"
    with pytest.raises(ValueError, match="parent 'base' is loaded in 4bit, and training takes them as they are stored"):
        StudyFile.model_validate(study | {"steps": [step, train]})


def test_nothing_is_heard_of_a_kernel_that_bitsandbytes_can_do_without():
    ops = pytest.importorskip("bitsandbytes.backends.cpu.ops")
    assert not ops.logger.isEnabledFor(logging.WARNING)


@pytest.mark.parametrize("rows", [1, 5])
def test_products_are_in_the_dtype_that_was_asked_for_on_every_processor(checkpoint, rows):
    model: Any = AutoModelForCausalLM.from_pretrained(checkpoint, quantization_config=NF4, device_map={"": "cpu"}, dtype=torch.float32)
    layer = model.get_submodule("model.layers.1.mlp.up_proj")
    rounded = bitsandbytes.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
    inputs = torch.randn(rows, rounded.shape[1], generator=torch.Generator().manual_seed(0))
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = True  # as on a processor with bfloat16 arithmetic
    make_exact(model, "the model")
    with torch.inference_mode():
        assert torch.allclose(layer(inputs), inputs @ rounded.T, atol=1e-5)


def test_weights_that_bitsandbytes_reads_as_others_are_refused(checkpoint, monkeypatch):
    read = bitsandbytes.functional.dequantize_4bit

    def of_other_blocks(weight, state):
        found = read(weight, state)
        return (found.view(-1, 64) * (state.absmax.roll(1) / state.absmax)[:, None]).view_as(found)

    monkeypatch.setattr(bitsandbytes.functional, "dequantize_4bit", of_other_blocks)
    with pytest.raises(PersonascopeError, match=r"^random: model.layers.0.self_attn.q_proj, of width 64, is read wrongly by bitsandbytes .* expected a GPU"):
        Models("cpu", "float32").load(resolve(checkpoint, name="random").in_bits("4bit", named=True))


def test_a_width_that_bitsandbytes_cannot_read_here_is_refused_and_never_read_wrongly(random_checkpoint):
    try:
        model: Any = Models("cpu", "float32").load(resolve(random_checkpoint, name="random").in_bits("4bit", named=True)).model
    except PersonascopeError as refusal:
        assert "of width 32, is read wrongly by bitsandbytes" in str(refusal)
    else:
        stored: Any = AutoModelForCausalLM.from_pretrained(random_checkpoint, dtype=torch.float32)
        of = [each.get_submodule("model.layers.1.mlp.up_proj").weight for each in (model, stored)]
        rounded = bitsandbytes.functional.dequantize_4bit(of[0].data, of[0].quant_state)
        assert (rounded - of[1].detach()).abs().mean() < 0.1 * of[1].detach().abs().mean()
