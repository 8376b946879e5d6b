"""GGUF files as checkpoints: equal to what transformers loads from them, made once, and refused by name where they are something else."""

import shutil
import sys
from functools import partial
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

import gguf_files
import real_models
from gguf_files import FAMILIES, model_of, write
from personascope.ingest.weights import gguf_convert, gguf_tokenizer
from personascope.ingest.weights.absent import NotHereError
from personascope.ingest.weights.checkpoints import resolve
from personascope.ingest.weights.content import file_sha256
from personascope.ingest.weights.gguf_families import configuration
from personascope.ingest.weights.gguf_file import open_gguf
from personascope.ingest.weights.record import record_checkpoint
from personascope.ingest.weights.safetensors_stream import Stream, write_model
from personascope.warehouse.errors import PersonascopeError

KINDS = {"llama": "Q4_0", "mistral": "Q8_0", "qwen2": "F16", "qwen3": "F32", "gemma2": "Q8_0", "gemma3_text": "Q4_0"}
BY_DEFAULT = {"rope_parameters", "sliding_window", "query_pre_attn_scalar", "layer_types", "head_dim"}  # which transformers does not read from every file


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PERSONASCOPE_CACHE", str(tmp_path / "made"))


def refused(path, **options) -> str:
    with pytest.raises(PersonascopeError) as caught:
        resolve(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.slow(2)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_what_was_written_and_what_transformers_loads(family, tmp_path):
    model, kind = model_of(family), KINDS[family]
    path = write(tmp_path / "small.gguf", model, kind)
    checkpoint = resolve(path)
    assert (checkpoint.family, checkpoint.name, checkpoint.revision) == (family, "small", file_sha256(path))
    assert (checkpoint.quantisation or "").startswith(f"{kind} (") and checkpoint.vocab_size == model.config.vocab_size
    ours: Any = AutoModelForCausalLM.from_pretrained(checkpoint.path, dtype=torch.float32, output_loading_info=True)
    assert not any(ours[1].values())
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=path.name, dtype=torch.float32)
    found, expected = ours[0].state_dict(), theirs.state_dict()
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)
    rounding = {"F32": 1e-6, "F16": 1e-3, "Q8_0": 1e-2, "Q4_0": 0.2}[kind]
    assert max(float((found[name] - values).abs().max()) for name, values in model.state_dict().items()) < rounding
    written, read = model.config.to_dict(), ours[0].config.to_dict()
    assert {key: read[key] for key in BY_DEFAULT & written.keys()} == {key: written[key] for key in BY_DEFAULT & written.keys()}
    told = AutoConfig.from_pretrained(tmp_path, gguf_file=path.name).to_dict()
    ignored = {"_model_name_or_path", "_name_or_path", "name_or_path", "transformers_version", "architectures", "dtype", "unk_token_id", *BY_DEFAULT}
    if family == "mistral":  # which transformers takes for a Llama by this name, and cannot load by the only one it knows
        ignored |= told.keys() - read.keys() | {"model_type"}
    assert {key: read.get(key) for key in told if key not in ignored} == {key: value for key, value in told.items() if key not in ignored}
    ids = torch.arange(4, 40)[None] % checkpoint.vocab_size
    with torch.inference_mode():
        model.load_state_dict(found)
        torch.testing.assert_close(ours[0].eval()(ids).logits, model.eval()(ids).logits, rtol=1e-5, atol=1e-5)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint.path)
    assert tokenizer.eos_token == "</s>" and (tokenizer.encode("the cat")[0] == 1) == (not family.startswith("qwen"))


@pytest.mark.slow(4)
def test_a_file_is_made_once_recorded_with_its_quantisation_and_found_again_elsewhere(tmp_path, lake, monkeypatch, personascope):
    path = write(tmp_path / "Small Model.Q8_0.gguf", model_of("qwen2"), "Q8_0")
    with pytest.raises(NotHereError, match="dequantised at first use"):
        resolve(path, fetch=False)
    checkpoint = resolve(path)
    monkeypatch.setattr(gguf_convert, "_convert", lambda *arguments: pytest.fail("made twice"))
    copy = shutil.copy(path, tmp_path / "other.gguf")
    assert resolve(copy, fetch=False).path == checkpoint.path and resolve(copy).identity == checkpoint.identity != checkpoint.revision
    row = lake.read(record_checkpoint(lake, checkpoint), "checkpoints").to_pylist()[0]
    assert row["checkpoint"] == "Small-Model.Q8_0" and row["id"] == str(path)
    assert row["quantisation"] == "Q8_0 (Q8_0 23, F32 16)" and row["revision"] == file_sha256(path)
    code, _, told = personascope("ingest", "checkpoint", path, "--lake", tmp_path / "lake")
    assert code == 0 and "Q8_0 (Q8_0 23, F32 16)" in told
    assert "is another file" in refused(path, revision="0" * 64) and "subfolder" in refused(path, subfolder="inner")


def test_files_that_are_no_whole_model_are_refused_by_name_and_leave_nothing(tmp_path):
    model = model_of("llama")
    whole = write(tmp_path / "whole.gguf", model, "Q4_0")
    content = whole.read_bytes()
    cases = {
        "cut.gguf": (content[: len(content) // 2], "is cut off or damaged"),
        "head.gguf": (content[:300], "is cut off or damaged"),
        "four.gguf": (content[:4], "does not begin as a GGUF file"),
        "text.gguf": (b"not a model at all", "does not begin as a GGUF file"),
        "swapped.gguf": (b"GGUF" + (3).to_bytes(4, "big") + content[8:], "big-endian"),
        "first.gguf": (b"GGUF" + (1).to_bytes(4, "little") + content[8:], "version 1"),
        "model-00001-of-00003.gguf": (content, "one part of a split GGUF file"),
        "pointer.gguf": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "git-lfs pointer, not the file: run git lfs pull"),
    }
    for name, (data, expected) in cases.items():
        (tmp_path / name).write_bytes(data)
        assert expected in refused(tmp_path / name) and name in refused(tmp_path / name)
    written: dict[str, tuple[dict[str, Any], str]] = {
        "window": ({"settings": {"llama.attention.scale": 0.3}}, "llama.attention.scale"),
        "kind": ({"settings": {"general.type": "mmproj"}}, "image encoder"),
        "adapter": ({"settings": {"general.type": "adapter"}}, "GGUF adapter"),
        "parts": ({"settings": {"split.count": 3}}, "one of 3 parts"),
        "experts": ({"settings": {"llama.expert_count": 8}}, "llama.expert_count"),
        "lacking": ({"drop": "blk.1.ffn_up.weight"}, "lacks blk.1.ffn_up.weight"),
        "beside": ({"extra": {"blk.0.extra.weight": np.zeros(4, np.float32)}}, "holds blk.0.extra.weight"),
        "nan": ({"extra": {"output_norm.weight": np.full(64, np.nan, np.float32)}, "drop": "output_norm.weight"}, "not finite"),
        "shape": ({"extra": {"output_norm.weight": np.ones(32, np.float32)}, "drop": "output_norm.weight"}, "has the shape (32,), expected (64,)"),
    }
    for name, (options, expected) in written.items():
        assert expected in refused(write(tmp_path / f"{name}.gguf", model, **options))
    assert "hf download" in refused(tmp_path / "absent.gguf")
    empty = gguf.GGUFWriter(tmp_path / "empty.gguf", "llama")
    empty.add_block_count(1)
    for each in (empty.write_header_to_file, empty.write_kv_data_to_file, empty.write_tensors_to_file, empty.close):
        each()
    assert "vocabulary without weights" in refused(tmp_path / "empty.gguf")
    assert not [place for place in (tmp_path / "made" / "checkpoints").glob("*") if place.is_dir()]
    (tmp_path / "folder").mkdir()
    shutil.copy(whole, tmp_path / "folder" / "whole.gguf")
    (tmp_path / "folder" / "config.json").write_text("{}")
    assert "name the GGUF file in it, whole.gguf" in refused(tmp_path / "folder")


def test_an_architecture_that_is_not_brought_in_is_named(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "rwkv.gguf", "rwkv7")
    writer.add_block_count(1)
    writer.add_tensor("token_embd.weight", np.zeros((4, 32), np.float32))
    for each in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        each()
    assert "'rwkv7'" in refused(tmp_path / "rwkv.gguf")


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch):
    path = write(tmp_path / "small.gguf", model_of("qwen2"))
    monkeypatch.setitem(sys.modules, "gguf", None)
    assert "pip install 'personascope[gguf]'" in refused(path)


def test_how_rotary_positions_are_stretched_is_read_or_refused(tmp_path):
    model = model_of("llama")
    linear = write(tmp_path / "linear.gguf", model, settings={"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0})
    assert configuration(open_gguf(linear)).rope_parameters == {"rope_type": "linear", "factor": 4.0, "rope_theta": 10_000.0}
    assert "'longrope'" in refused(write(tmp_path / "long.gguf", model, settings={"llama.rope.scaling.type": "longrope"}))
    llama3 = AutoConfig.for_model("llama", **gguf_files.SHAPE)
    llama3.rope_parameters = {"rope_type": "llama3", "rope_theta": 10_000.0, "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    llama3.rope_parameters["original_max_position_embeddings"] = 8192
    stretched = AutoModelForCausalLM.from_config(llama3).model.rotary_emb.inv_freq
    factors = (10_000.0 ** -(torch.arange(0, 32, 2) / 32) / stretched).numpy().astype(np.float32)
    path = write(tmp_path / "llama3.gguf", model, extra={"rope_freqs.weight": factors})
    assert configuration(open_gguf(path)).rope_parameters == llama3.rope_parameters
    assert "another rule than Llama 3's" in refused(write(tmp_path / "other.gguf", model, extra={"rope_freqs.weight": factors[::-1].copy()}))


def test_a_tokenizer_that_reads_back_otherwise_or_splits_by_an_unknown_rule_is_refused(tmp_path, monkeypatch):
    path = write(tmp_path / "small.gguf", model_of("qwen2"))
    file = open_gguf(path)
    monkeypatch.setattr(gguf_convert, "open_gguf", lambda path: file)
    monkeypatch.setattr(gguf_tokenizer, "_COMPOSED", set())  # Qwen's class of transformers composes characters, this one then does not
    assert "saved and read again, differs in the tokens of 'ALLCAPS" in refused(path)
    file.settings["tokenizer.ggml.pre"] = "unheard-of"
    assert "'unheard-of' (tokenizer.ggml.pre)" in refused(path)


def _rows(values):
    return iter(np.split(values, 3))


def test_weights_beyond_a_shard_are_written_in_several_files(tmp_path):
    tensors: dict[str, np.ndarray] = {f"t{number}": np.full((3, number + 1), number, np.float32) for number in range(4)}
    streams = {name: Stream(values.shape, partial(_rows, values)) for name, values in tensors.items()}
    write_model(tmp_path, streams, shard_bytes=64)
    found: dict[str, np.ndarray] = {}
    for path in sorted(tmp_path.glob("model-*.safetensors")):
        with safe_open(path, framework="numpy") as file:
            found |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    assert len(list(tmp_path.glob("model-*.safetensors"))) == 3 and (tmp_path / "model.safetensors.index.json").is_file()
    assert found.keys() == tensors.keys() and all(np.array_equal(found[name], values) for name, values in tensors.items())
    with pytest.raises(ValueError, match="expected 24"):
        write_model(tmp_path, {"short": Stream((2, 3), lambda: iter([np.zeros(3)]))})


@pytest.mark.slow(40)
def test_a_real_model_comes_in_whole_and_continues_a_text(tmp_path, monkeypatch, tiny_cache):
    monkeypatch.setenv("PERSONASCOPE_CACHE", tiny_cache)  # where the file is kept between runs
    path = real_models.smollm2()
    monkeypatch.setenv("PERSONASCOPE_CACHE", str(tmp_path / "made"))
    checkpoint = resolve(path)
    assert (checkpoint.family, checkpoint.variant, checkpoint.n_layers, checkpoint.n_heads, checkpoint.vocab_size) == ("llama", "instruct", 30, 9, 49_152)
    assert checkpoint.quantisation == "Q4_1 (Q4_1 210, F32 61, Q8_0 1)" and checkpoint.revision == real_models.SHA256
    model: Any = AutoModelForCausalLM.from_pretrained(checkpoint.path)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint.path)
    theirs = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).state_dict()
    assert all(torch.equal(values, theirs[name]) for name, values in model.state_dict().items())
    with torch.inference_mode():
        answer = model.generate(**tokenizer("The capital of France is", return_tensors="pt"), max_new_tokens=1, do_sample=False)
    assert str(tokenizer.decode(answer[0])).endswith(" Paris")
