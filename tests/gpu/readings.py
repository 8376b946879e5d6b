"""The readouts on the accelerator: self-checks of every family, and whole readings beside the bare pass and its floor."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from gpu.measuring import SMALL, Figures, built, machine, measured
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from personascope.extract.instruments.attention_readout import read_attention, right_padded, run_decoder, self_check
from personascope.extract.instruments.components import find_components
from personascope.extract.instruments.residual import residual_stream
from personascope.extract.instruments.row_entropy import read_entropy
from personascope.extract.texts.regions import REGIONS

GROUPED: dict[str, Any] = {"num_key_value_heads": 2, "head_dim": 16}
FAMILIES: dict[str, dict[str, Any]] = {
    "qwen2": GROUPED,
    "qwen3": GROUPED,
    "llama": GROUPED,
    "mistral": GROUPED | {"sliding_window": 12},
    "gemma2": GROUPED | {"sliding_window": 12, "query_pre_attn_scalar": 16},
    "gemma3_text": GROUPED | {"sliding_window": 12, "query_pre_attn_scalar": 16},
    "phi3": {"num_key_value_heads": 2},
    "olmo2": {"num_key_value_heads": 2},
    "granite": {"num_key_value_heads": 2, "attention_multiplier": 0.2, "residual_multiplier": 0.3},
}


def families(options: argparse.Namespace) -> list[Figures]:
    """Errors of the self-checks, which raise where one is larger than rounding explains."""
    rows = []
    for family, extra in FAMILIES.items():
        for dtype in ("float32", "bfloat16"):
            torch.manual_seed(0)
            config = AutoConfig.for_model(family, **SMALL, **extra, initializer_range=0.1)
            model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype)).to(options.device).eval().requires_grad_(False)
            row: Figures = {"family": family, "dtype": dtype}
            checks: dict[str, Callable[[Any], Figures]] = {
                "readout": lambda m: self_check(m),
                "parts": lambda m: find_components(m).errors,
            }
            if importlib.util.find_spec("pydantic"):
                from personascope.extract.instruments.branching import Branching

                checks["branches"] = lambda m: {"": Branching(residual_stream(m, ["resid_post"])).error}
            for name, checked in checks.items():
                try:
                    row[name] = max(checked(model).values())
                except Exception as error:  # a family that is refused stands in the table with its reason
                    row[name] = f"refused: {error}"
            rows.append(row)
    return rows


def floor(options: argparse.Namespace, model: Any, length: int) -> Figures:
    """Counted FLOPs and bytes of one bare decoder pass, and the seconds they take at the speeds measured here."""
    shape = model.config
    weights = sum(each.numel() for each in model.get_decoder().layers.parameters())
    flops = 2 * weights * length + 2 * length**2 * shape.num_attention_heads * (shape.hidden_size // shape.num_attention_heads) * shape.num_hidden_layers
    moved = weights * model.dtype.itemsize
    speeds = machine(options)
    return {"tflop": flops / 1e12, "floor_s": max(flops / 1e12 / speeds["tflops_measured"], moved / 1e9 / speeds["gb_s_measured"])}


def reading(options: argparse.Namespace, read: Callable[[Any, Tensor, int], Any]) -> list[Figures]:
    """One reading beside the bare pass at every length, with peak memory above the weights."""
    model = built(options)
    rows = []
    for length in options.lengths:
        tokens = torch.randint(model.config.vocab_size, (1, length), generator=torch.Generator().manual_seed(length))
        real = right_padded(torch.tensor([length]), length).to(options.device)
        with torch.inference_mode():
            bare, bare_memory = measured(partial(run_decoder, model, tokens.to(options.device), real), options)
            whole, memory = measured(partial(read, model, tokens, length), options)
        told = floor(options, model, length)
        rows.append({"length": length, "bare_s": bare, "read_s": whole, "ratio": whole / bare, "bare_gib": bare_memory, "read_gib": memory, **told})
        rows[-1]["bare_over_floor"] = bare / told["floor_s"]
    return rows


def readout(options: argparse.Namespace) -> list[Figures]:
    """The rows of twelve positions in every layer and head."""

    def read(model: Any, tokens: Tensor, length: int) -> Any:
        positions = torch.linspace(1, length - 1, 12).long()[None]
        return read_attention(model, tokens, torch.tensor([length]), positions, torch.arange(length).remainder(len(REGIONS))[None])

    return reading(options, read)


def entropy(options: argparse.Namespace) -> list[Figures]:
    """The entropy of every row: in blocks up to 4,096 tokens, through the fused kernel from there on."""
    return reading(options, lambda model, tokens, length: read_entropy(model, tokens, torch.tensor([length]), length >= 4096))
