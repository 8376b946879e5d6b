"""Choice of device and dtype on machines with and without GPUs (torch's answers are replaced, no GPU is needed)."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from personascope.extract.weights.device import choose_device, choose_dtype
from personascope.warehouse.errors import PersonascopeError


@pytest.fixture
def machine(monkeypatch):
    """Pretends that this machine has `gpus` CUDA devices, with or without bfloat16, or an Apple GPU."""

    def pretend(gpus: int = 0, bfloat16: bool = True, mps: bool = False) -> None:
        properties = SimpleNamespace(name="Test GPU", total_memory=80 * 2**30)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: bfloat16 or including_emulation)
        monkeypatch.setattr(torch.cuda, "device", lambda index: nullcontext())
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return pretend


def stored(dtype: str | None):
    return SimpleNamespace(stored_dtype=dtype)


@pytest.mark.parametrize(
    ("has", "value", "reason"),
    [
        ({}, "cpu", "cpu: no CUDA or MPS device found"),
        ({"mps": True}, "mps", "mps: Apple GPU, no CUDA device found"),
        ({"gpus": 1, "mps": True}, "cuda:0", "cuda:0: Test GPU, 80 GiB"),
        ({"gpus": 2}, "cuda:0", "cuda:0: Test GPU, 80 GiB, the first of 2"),
    ],
)
def test_device_is_cuda_before_mps_before_cpu(machine, has, value, reason):
    machine(**has)
    assert choose_device() == (value, reason)


def test_typed_device_wins(machine):
    machine(gpus=2, mps=True)
    assert choose_device("cpu") == ("cpu", "cpu: as typed")
    assert choose_device("mps") == ("mps", "mps: as typed")
    assert choose_device("CUDA").value == "cuda:0"
    assert choose_device("cuda:1") == ("cuda:1", "cuda:1: as typed (Test GPU, 80 GiB)")


@pytest.mark.parametrize(
    ("gpus", "device", "words"),
    [
        (0, "cuda", "device cuda was asked for, but this torch"),
        (0, "mps", "finds no Apple GPU"),
        (2, "cuda:2", "expected cuda:0 to cuda:1"),
        (2, "tpu", "'tpu' is unknown: expected cuda, cuda:<number>, mps or cpu"),
        (2, "cuda:x", "'cuda:x' is unknown"),
        (2, "cpu:0", "'cpu:0' is unknown"),
    ],
)
def test_device_that_is_not_there_is_refused(machine, gpus, device, words):
    machine(gpus=gpus)
    with pytest.raises(PersonascopeError, match=words):
        choose_device(device)


@pytest.mark.parametrize(
    ("device", "checkpoint", "has", "value", "reason"),
    [
        ("cpu", stored("bfloat16"), {}, "float32", "exact and safe on cpu"),
        ("mps", None, {"mps": True}, "float32", "exact and safe on mps"),
        ("cuda:0", None, {"gpus": 1}, "bfloat16", "usual for weights on CUDA"),
        ("cuda:0", stored("bfloat16"), {"gpus": 1}, "bfloat16", "the weights are stored so"),
        ("cuda:0", stored("float32"), {"gpus": 1}, "float32", "the weights are stored so"),
        ("cuda:0", stored("float16"), {"gpus": 1}, "float16", "the weights are stored so"),
        ("cuda:0", stored("bfloat16"), {"gpus": 1, "bfloat16": False}, "float32", "Test GPU, 80 GiB has no bfloat16"),
    ],
)
def test_dtype_suits_device_and_stored_weights(machine, device, checkpoint, has, value, reason):
    machine(**has)
    choice = choose_dtype(device, checkpoint=checkpoint)
    assert choice.value == value and choice.reason.startswith(f"{value}: ") and reason in choice.reason


def test_typed_dtype_wins_or_is_refused(machine):
    machine(gpus=1, bfloat16=False)
    assert choose_dtype("cpu", "bfloat16") == ("bfloat16", "bfloat16: as typed")
    assert choose_dtype("cuda:0", "torch.float16").value == "float16"
    with pytest.raises(PersonascopeError, match="dtype 'int8' is unknown: expected one of float32, bfloat16, float16"):
        choose_dtype("cpu", "int8")
    with pytest.raises(PersonascopeError, match="bfloat16 is not supported by cuda:0"):
        choose_dtype("cuda:0", "bfloat16")
