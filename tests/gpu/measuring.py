"""Models to measure, the speeds of this machine, and how long a call takes and how much memory."""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

SHAPES: dict[str, dict[str, int]] = {
    "7b": {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064},
    "tiny": {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 512},
}
SMALL: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 512, "pad_token_id": 0}

Figures = dict[str, Any]


class SkippedError(Exception):
    """A part that cannot run here, with the reason."""


def machine(options: argparse.Namespace) -> Figures:
    """The device and its speeds as measured: a matrix product in the dtype of the large shape, and a copy."""
    dtype, size = getattr(torch, options.dtype), 8192 if options.device.startswith("cuda") else 1024
    one = torch.randn(size, size, device=options.device, dtype=dtype)
    flops = 2 * size**3 / seconds(lambda: one @ one, options)
    moved = 2 * one.nbytes / seconds(lambda: one.clone(), options)
    name = torch.cuda.get_device_name(options.device) if options.device.startswith("cuda") else platform.processor() or platform.machine()
    versions = {"torch": torch.__version__, "transformers": transformers.__version__, "cuda": torch.version.cuda, "driver": _driver()}
    return {"device": name, "dtype": options.dtype, "shape": options.shape, "tflops_measured": flops / 1e12, "gb_s_measured": moved / 1e9, **versions}


def _driver() -> str | None:
    file = Path("/proc/driver/nvidia/version")
    return file.read_text().split("Kernel Module")[-1].split()[0] if file.is_file() else None


def built(options: argparse.Namespace, layers: int | None = None) -> Any:
    """The random model of the large shape, with SDPA."""
    torch.manual_seed(0)
    shape = SHAPES[options.shape] | ({"num_hidden_layers": layers} if layers else {})
    config = AutoConfig.for_model("qwen2", **shape, max_position_embeddings=1 << 17, attn_implementation="sdpa")
    with torch.device(options.device):
        return AutoModelForCausalLM.from_config(config, dtype=getattr(torch, options.dtype)).eval().requires_grad_(False)


def vocabulary_of(model: Any) -> int:
    return int(model.config.get_text_config().vocab_size)


def seconds(call: Callable[[], Any], options: argparse.Namespace) -> float:
    return measured(call, options)[0]


def measured(call: Callable[[], Any], options: argparse.Namespace) -> tuple[float, float | None]:
    """Median seconds over the rounds after one that is not counted, and peak memory in GiB above what was held (NULL on a CPU)."""
    on_gpu = options.device.startswith("cuda")
    call()
    held = 0
    if on_gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
    times = []
    for _ in range(options.rounds):
        started = time.perf_counter()
        call()
        if on_gpu:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return statistics.median(times), (torch.cuda.max_memory_allocated() - held) / 2**30 if on_gpu else None
