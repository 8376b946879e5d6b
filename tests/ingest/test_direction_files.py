"""Directions in the files of other tools: what was written is read again as it was, and what does not fit is refused in a sentence."""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from personascope.ingest.directions.files import Vector, read_vectors, write_vectors
from personascope.ingest.weights.checkpoints import Checkpoint
from personascope.warehouse.errors import PersonascopeError

D, LAYERS = 6, 4
CHECKPOINT = Checkpoint(
    name="base", id="base", revision="r", path=Path("base"), family="qwen2", variant="base", n_layers=LAYERS, n_heads=2, n_kv_heads=2, d_model=D, vocab_size=9
)


def vectors(name: str = "evil", layers: range = range(LAYERS), site: str = "resid_post") -> list[Vector]:
    drawn = np.random.default_rng(7)
    return [Vector(name, layer, site, drawn.normal(size=D).astype(np.float32)) for layer in layers]


@pytest.mark.parametrize("suffix", [".pt", ".npy", ".safetensors", ".gguf"])
def test_what_was_written_is_read_again_as_it_was(tmp_path, suffix):
    held = vectors(layers=range(1, LAYERS) if suffix == ".gguf" else range(LAYERS))
    write_vectors(tmp_path / f"evil{suffix}", held, "qwen2", LAYERS)
    found = read_vectors(tmp_path / f"evil{suffix}", CHECKPOINT)
    assert [each[:3] for each in found] == [each[:3] for each in held]
    for one, other in zip(found, held, strict=True):
        np.testing.assert_array_equal(one.vector, other.vector)
        assert one.vector.dtype == np.float32
    assert [each.layer for each in read_vectors(tmp_path / f"evil{suffix}", CHECKPOINT, [2])] == [2]


@pytest.mark.parametrize("name", ["evil.NPY", "evil.PT"])
def test_a_file_is_called_as_typed_holds_no_other_name_and_takes_its_place_whole(tmp_path, monkeypatch, name):
    write_vectors(tmp_path / name, vectors(), "qwen2", LAYERS)
    first = (tmp_path / name).read_bytes()
    write_vectors(tmp_path / name, vectors(), "qwen2", LAYERS)
    assert (tmp_path / name).read_bytes() == first and len(read_vectors(tmp_path / name, CHECKPOINT)) == LAYERS

    def half(*arguments: Any, **_: Any) -> None:
        file = next(each for each in arguments if isinstance(each, Path) or hasattr(each, "write"))
        file.write_bytes(b"half") if isinstance(file, Path) else file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", half)
    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(PersonascopeError, match=f"{name} cannot be written .*No space left"):
        write_vectors(tmp_path / name, vectors(), "qwen2", LAYERS)
    assert (tmp_path / name).read_bytes() == first and [each.name for each in tmp_path.iterdir()] == [name]


def test_safetensors_hold_several_directions_of_any_site_and_layer(tmp_path):
    held = vectors("evil", range(2, 3)) + vectors("kind-others", range(1, 3), "mlp_out")
    write_vectors(tmp_path / "two.safetensors", held, "qwen2", LAYERS)
    assert {each[:3] for each in read_vectors(tmp_path / "two.safetensors", CHECKPOINT)} == {each[:3] for each in held}


def test_rows_are_numbered_as_hidden_states_where_there_is_one_more_than_layers(tmp_path):
    rows = torch.arange((LAYERS + 1) * D, dtype=torch.float32).reshape(LAYERS + 1, D).to(torch.bfloat16)
    torch.save(rows, tmp_path / "evil_response_avg_diff.pt")  # persona vectors: row 0 is the embedding
    torch.save({"evil": rows[1:], "kind": {2: rows[3]}}, tmp_path / "by_name.pt")
    np.save(tmp_path / "one.npy", rows[3].float().numpy())
    save_file({"evil": rows[1:].contiguous()}, tmp_path / "plain.safetensors")
    for found in (read_vectors(tmp_path / "evil_response_avg_diff.pt", CHECKPOINT), read_vectors(tmp_path / "plain.safetensors", CHECKPOINT)):
        for each in found:
            np.testing.assert_array_equal(each.vector, rows[each.layer + 1].float().numpy())
        assert [each.layer for each in found] == list(range(LAYERS))
    named = {(each.name, each.layer): each.vector for each in read_vectors(tmp_path / "by_name.pt", CHECKPOINT)}
    assert len(named) == LAYERS + 1
    np.testing.assert_array_equal(named["kind", 2], named["evil", 2])
    (one,) = read_vectors(tmp_path / "one.npy", CHECKPOINT, [2])
    assert one[:3] == ("one", 2, "resid_post")


def test_a_control_vector_is_read_by_the_package_gguf_as_repeng_writes_it(tmp_path):
    gguf = pytest.importorskip("gguf")
    held = vectors(layers=range(1, LAYERS))
    write_vectors(tmp_path / "evil.gguf", held, "qwen2", LAYERS)
    reader = gguf.GGUFReader(tmp_path / "evil.gguf")
    assert reader.get_field("general.architecture").contents() == "controlvector"
    assert reader.get_field("controlvector.model_hint").contents() == "qwen2" and reader.get_field("controlvector.layer_count").contents() == LAYERS - 1
    assert [tensor.name for tensor in reader.tensors] == [f"direction.{layer}" for layer in range(1, LAYERS)]
    for tensor, each in zip(reader.tensors, held, strict=True):
        np.testing.assert_array_equal(tensor.data, each.vector)


@dataclass
class Payload:
    """What a pickle of a stranger may hold: loading it would make the file `ran`."""

    path: str

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (self.path, "w"))


def test_pickles_are_refused_and_nothing_of_them_runs(tmp_path):
    torch.save({"evil": Payload(str(tmp_path / "ran"))}, tmp_path / "evil.pt")
    (tmp_path / "raw.pt").write_bytes(pickle.dumps(Payload(str(tmp_path / "ran"))))
    np.save(tmp_path / "evil.npy", np.array([Payload(str(tmp_path / "ran"))], dtype=object), allow_pickle=True)
    for file in ("evil.pt", "raw.pt", "evil.npy"):
        with pytest.raises(PersonascopeError, match=r"(is a pickle that holds more than tensors|holds pickled objects), and nothing of it was run"):
            read_vectors(tmp_path / file, CHECKPOINT)
    assert not (tmp_path / "ran").exists()


def test_a_text_is_no_array_and_no_pickle(tmp_path):
    (tmp_path / "evil.npy").write_text("hello")
    with pytest.raises(PersonascopeError, match=r"evil\.npy is no array; expected numbers that numpy\.save wrote"):
        read_vectors(tmp_path / "evil.npy", CHECKPOINT)


def _array(*shape: int) -> np.ndarray:
    return np.ones(shape, dtype=np.float32)


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (_array(LAYERS, D + 1), "has 7 numbers .float32. for layer 0, and base has 6; expected floating-point vectors of this model"),
        (_array(LAYERS + 2, D), "has 6 by 6 numbers, and base has 4 layers; expected 4 rows, or 5 with the embedding"),
        (_array(2, LAYERS, D), "has 2 by 4 by 6 numbers, and base has 4 layers"),
        (_array(D), "is one vector and does not say of which layer; expected setting layers to name it"),
        (_array(LAYERS, D).astype(np.int64), "has 6 numbers .int64. for layer 0"),
    ],
)
def test_arrays_of_another_model_are_refused_in_one_sentence(tmp_path, array, sentence):
    np.save(tmp_path / "x.npy", array)
    torch.save(torch.from_numpy(array), tmp_path / "x.pt")
    for suffix in (".npy", ".pt"):
        with pytest.raises(PersonascopeError, match=sentence) as refused:
            read_vectors(tmp_path / f"x{suffix}", CHECKPOINT)
        assert "\n" not in str(refused.value)


def test_files_of_another_model_and_of_no_kind_are_refused(tmp_path):
    write_vectors(tmp_path / "llama.gguf", vectors(layers=range(1, LAYERS)), "llama", LAYERS)
    write_vectors(tmp_path / "llama.safetensors", vectors(), "llama", LAYERS)
    write_vectors(tmp_path / "deep.gguf", vectors(layers=range(3, 6)), "qwen2", 8)
    (tmp_path / "cut.gguf").write_bytes((tmp_path / "deep.gguf").read_bytes()[:40])
    (tmp_path / "noise.npy").write_bytes(b"noise")
    (tmp_path / "noise.pt").write_bytes(b"noise")
    (tmp_path / "noise.safetensors").write_bytes(b"noise")
    (tmp_path / "notes.txt").write_text("evil")
    torch.save([1, 2], tmp_path / "list.pt")
    for file, sentence in {
        "llama.gguf": "was made for a llama model, and base is a qwen2 model",
        "llama.safetensors": "was made for a llama model, and base is a qwen2 model",
        "deep.gguf": "deep has a vector of layer 4, and base has layers 0 to 3",
        "cut.gguf": "is cut off or damaged",
        "noise.npy": "noise.npy ",
        "noise.pt": "noise.pt ",
        "noise.safetensors": "cannot be read as safetensors",
        "notes.txt": "is no file of directions; expected .pt",
        "list.pt": "holds a list; expected a tensor, or tensors by layer or by the direction's name",
    }.items():
        with pytest.raises(PersonascopeError, match=sentence):
            read_vectors(tmp_path / file, CHECKPOINT)
    write_vectors(tmp_path / "evil.safetensors", vectors(layers=range(1, 2)), "qwen2", LAYERS)
    with pytest.raises(PersonascopeError, match="no direction is of layer 3; the layers it has: 1"):
        read_vectors(tmp_path / "evil.safetensors", CHECKPOINT, [3])


@pytest.mark.parametrize(
    ("file", "held", "sentence"),
    [
        ("x.txt", vectors(), "expected one of these endings"),
        ("x.gguf", vectors(), "a control vector adds nothing to layer 0; expected layers from 1"),
        ("x.gguf", vectors() + vectors("kind"), "a .gguf file holds one direction, and there are 2"),
        ("x.npy", vectors(site="mlp_out"), "holds directions of resid_post, and evil is of mlp_out; expected .safetensors"),
        ("x.pt", vectors(layers=range(1, LAYERS)), "evil has no vector of layer 0, and rows of such a file are taken by number"),
        ("nowhere/x.npy", vectors(), "cannot be written"),
        ("nowhere/x.gguf", vectors(layers=range(1, 3)), "cannot be written"),
        ("nowhere/x.pt", vectors(), "cannot be written"),
        ("nowhere/x.safetensors", vectors(), "cannot be written"),
    ],
)
def test_what_a_file_cannot_hold_is_refused(tmp_path, file, held, sentence):
    with pytest.raises(PersonascopeError, match=sentence):
        write_vectors(tmp_path / file, held, "qwen2", LAYERS)
    assert not list(tmp_path.iterdir())
