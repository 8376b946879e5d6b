"""Time, peak memory and error of the attention readout beside the bare forward pass and eager attention; run it, it is not a test.

A randomly initialised Qwen2 model of the 0.5B shape cut to a few layers runs its decoder on one sequence:
- bare: SDPA forward pass;
- readout: the same with the rows of 12 positions read in every layer and head;
- eager: forward pass with `output_attentions`, reduced to the same figures.
Times are medians over rounds that run the three one after the other, ratios are medians of the ratios within a round. Memory is the peak
above what is held before the first forward pass, each variant in a process of its own (Linux; on the GPU as counted by torch's allocator). The
error is the largest difference of a figure from a float64 softmax over the layer's queries and keys.
"""

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from transformers import Qwen2Config, Qwen2ForCausalLM

from personascope.extract.instruments.attention_calls import LayerCall, attention_implementation, reading
from personascope.extract.instruments.attention_readout import Readout, read_attention
from personascope.extract.texts.regions import REGIONS

SHAPE: dict[str, Any] = {"vocab_size": 4096, "hidden_size": 896, "intermediate_size": 4864, "num_attention_heads": 14, "num_key_value_heads": 2}
VARIANTS = ("bare", "readout", "eager")


def main() -> None:
    """Print the table to stderr and one JSON line to stdout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[256, 1024, 2048])
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--positions", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument("--peak", choices=VARIANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.peak:
        print(peak_memory(options))
        return
    console = Console(stderr=True, width=110)
    figures = [measure(options, length) for length in track(options.lengths, description="readout benchmark", console=console, transient=True)]
    console.print(table(options, figures))
    settings = {name: value for name, value in vars(options).items() if name != "peak"}
    print(json.dumps(settings | {"device": device_name(options.device), "figures": figures}))


def measure(options: argparse.Namespace, length: int) -> dict[str, float]:
    """Times in seconds, peak memory in MiB, ratios to the bare forward pass, and the largest error, at one length."""
    run = variants(options, length)
    for variant in VARIANTS:
        run[variant]()
    rounds = [{variant: seconds(run[variant], options.device) for variant in VARIANTS} for _ in range(options.rounds)]
    figures: dict[str, float] = {"length": length}
    for variant in VARIANTS:
        figures[f"{variant}_s"] = statistics.median(times[variant] for times in rounds)
        figures[f"{variant}_mib"] = peak_in_process(options, length, variant)
    for variant in VARIANTS[1:]:
        figures[f"{variant}_time_ratio"] = statistics.median(times[variant] / times["bare"] for times in rounds)
        figures[f"{variant}_memory_ratio"] = figures[f"{variant}_mib"] / figures["bare_mib"]
    figures["error"] = largest_error(options, length)
    return figures


def build(options: argparse.Namespace) -> Qwen2ForCausalLM:
    """The random model; its init is wide enough that heads differ and some are sharp."""
    torch.manual_seed(0)
    config = Qwen2Config(**SHAPE, num_hidden_layers=options.layers, max_position_embeddings=max(options.lengths), initializer_range=0.06)
    return Qwen2ForCausalLM(config).to(options.device, getattr(torch, options.dtype)).eval()


def inputs(options: argparse.Namespace, length: int) -> tuple[torch.Tensor, ...]:
    """input_ids [1, T], lengths [1], positions [1, P] in the second half, and region codes [1, T] in seven equal stretches."""
    generator = torch.Generator().manual_seed(length)
    input_ids = torch.randint(SHAPE["vocab_size"], (1, length), generator=generator)
    positions = torch.randperm(length // 2, generator=generator)[None, : options.positions] + length // 2
    return input_ids, torch.tensor([length]), positions, torch.arange(length)[None] * len(REGIONS) // length


def variants(options: argparse.Namespace, length: int) -> dict[str, Callable[[], object]]:
    """The three forward passes, by name."""
    model = build(options)
    input_ids, lengths, positions, regions = inputs(options, length)
    on_device = input_ids.to(options.device)

    @torch.inference_mode()
    def bare() -> object:
        return model.get_decoder()(input_ids=on_device, use_cache=False).last_hidden_state

    @torch.inference_mode()
    def eager() -> object:
        with attention_implementation(model, "eager"):
            attentions = model.get_decoder()(input_ids=on_device, use_cache=False, output_attentions=True).attentions
        rows = torch.stack([layer[:, :, positions[0]].float() for layer in attentions], dim=1)
        return figures_of(rows, regions.to(options.device)).cpu()

    return {"bare": bare, "readout": lambda: read_attention(model, input_ids, lengths, positions, regions), "eager": eager}


def figures_of(rows: torch.Tensor, regions: torch.Tensor) -> torch.Tensor:
    """Region fractions, bos and entropy [B, L, H, P, 9] of rows [B, L, H, P, T], in their dtype."""
    indicator = torch.nn.functional.one_hot(regions, len(REGIONS)).to(rows.dtype)
    sums = rows @ indicator[:, None, None]
    return torch.cat([sums, rows[..., :1], torch.special.entr(rows).sum(-1, keepdim=True)], dim=-1)


def largest_error(options: argparse.Namespace, length: int) -> float:
    """Largest difference of the readout's figures from a float64 softmax over the queries and keys of the same forward pass."""
    model = build(options)
    input_ids, lengths, positions, regions = inputs(options, length)
    exact: dict[int, torch.Tensor] = {}

    def keep(call: LayerCall) -> None:
        query, key = call.query[:, :, positions[0]].double().cpu(), call.key.double().cpu()
        scores = query @ key.repeat_interleave(query.shape[1] // key.shape[1], dim=1).transpose(2, 3) * call.scaling
        exact[call.layer] = scores.masked_fill(torch.arange(length) > positions[0][:, None], -torch.inf).softmax(-1)

    with torch.inference_mode(), reading(model, keep):
        model.get_decoder()(input_ids=input_ids.to(options.device), use_cache=False)
    expected = figures_of(torch.stack([exact[layer] for layer in range(options.layers)], dim=1), regions)
    found: Readout = read_attention(model, input_ids, lengths, positions, regions)
    joined = torch.cat([found.fractions, found.bos[..., None], found.entropy[..., None]], dim=-1)
    return float((joined.permute(0, 2, 3, 1, 4) - expected).abs().max())


def seconds(run: Callable[[], object], device: str) -> float:
    """Wall time of one call."""
    gc.collect()
    start = time.perf_counter()
    run()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - start


def peak_in_process(options: argparse.Namespace, length: int, variant: str) -> float:
    """Peak memory of a variant in MiB, from a fresh process that gives freed tensors back at once (glibc would keep some)."""
    arguments = {"--lengths": length, "--layers": options.layers, "--positions": options.positions, "--threads": options.threads}
    arguments |= {"--device": options.device, "--dtype": options.dtype, "--peak": variant}
    command = [sys.executable, __file__, *(str(part) for pair in arguments.items() for part in pair)]
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    return float(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)


def peak_memory(options: argparse.Namespace) -> float:
    """MiB above what is held once the model is built and torch has warmed up on the first few tokens."""
    run, warm_up = variants(options, options.lengths[0]), variants(options, 32)[options.peak]
    warm_up()
    del warm_up
    gc.collect()
    if options.device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run[options.peak]()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    Path("/proc/self/clear_refs").write_text("5")  # lets the high-water mark fall to what is held now; getrusage would keep the old one
    before = high_water()
    run[options.peak]()
    return (high_water() - before) / 2**10


def high_water() -> int:
    """Peak resident memory of this process in KiB (Linux)."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def device_name(device: str) -> str:
    """The accelerator's name, or the number of threads on a CPU."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else f"cpu, {torch.get_num_threads()} threads"


def table(options: argparse.Namespace, figures: list[dict[str, float]]) -> Table:
    """The figures for people."""
    title = f"{options.layers} layers of 0.5B shape, {options.dtype}, {options.positions} positions, {device_name(options.device)}"
    result = Table("T", "bare time", "readout", "eager", "bare MiB", "readout MiB", "eager MiB", "largest error", title=title)
    for row in figures:
        times = [f"{row['bare_s'] * 1e3:.0f} ms"] + [f"{row[f'{name}_time_ratio']:.2f} x" for name in VARIANTS[1:]]
        memory = [f"{row['bare_mib']:.0f}"] + [f"{row[f'{name}_mib']:.0f} ({row[f'{name}_memory_ratio']:.2f} x)" for name in VARIANTS[1:]]
        result.add_row(str(row["length"]), *times, *memory, f"{row['error']:.1e}")
    return result


if __name__ == "__main__":
    main()
