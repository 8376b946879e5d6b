"""Time, peak memory, size on disk and error of the attention-entropy readout; run it, it is not a test.

A randomly initialised Qwen2 model of the 0.5B shape (24 layers, width 896, 14 query and 2 key-value heads) reads the shipped role-focus prompts:
- bare: the decoder alone, SDPA, prompts in batches;
- readout: the same batches with the entropy of every row of every head read, and the table `entropy` written;
- eager: the same batches with `output_attentions`, reduced by tensor operations;
- lens: TransformerLens, one prompt at a time: `run_with_cache`, patterns to a compressed NPZ, then a Python loop over layers, heads and query positions
  that adds 1e-8 and renormalises, as the published study defines its entropy.
The last runs in the environment of `--transformer-lens PYTHON` (the study's transformer_lens==2.16.1 with transformers==4.57.1) on a few prompts, with the
same weights; its time and bytes are per prompt and extrapolated to all of them. Times are medians over rounds that run the first three one after another.
Memory is the peak above what is held once the model is built, each variant in a process of its own (Linux; on the GPU as counted by torch). The largest
differences are those of a head's mean entropy over the query positions of a prompt.
"""

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from transformers import Qwen2Config, Qwen2ForCausalLM

SHAPE: dict[str, Any] = {"hidden_size": 896, "intermediate_size": 4864, "num_attention_heads": 14, "num_key_value_heads": 2}
VOCABULARY, LONGEST = 600, 2048
VARIANTS = ("bare", "readout", "eager")
PUBLISHED_EPSILON = 1e-8


def main() -> None:
    """Print the table to stderr and one JSON line to stdout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--batch-tokens", type=int, default=8192)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--preamble", type=int, default=0, metavar="TOKENS", help="tokens in front of every prompt, as a system block puts them there")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--transformer-lens", metavar="PYTHON", help="interpreter that has TransformerLens; without it that variant is left out")
    parser.add_argument("--lens-prompts", type=int, default=6)
    parser.add_argument("--peak", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--lens-job", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.lens_job:
        print(json.dumps(lens_figures(options)))
        return
    if options.peak:
        print(peak_memory(options))
        return
    figures = measure(options)
    show(figures)
    kept = {name: value for name, value in vars(options).items() if name not in ("peak", "lens_job", "transformer_lens")}
    print(json.dumps(kept | SHAPE | figures))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds, peak MiB and bytes of every variant, what they are to one another, and the largest differences in nats."""
    prompts = token_ids(options.preamble)
    load = os.getloadavg()[0]
    figures: dict[str, Any] = {"prompts": len(prompts), "tokens": sum(map(len, prompts)), "longest": max(map(len, prompts)), "load": load}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = variants(options, prompts, folder)
        means: dict[str, Any] = {variant: run[variant]() for variant in VARIANTS}
        rounds = [{variant: seconds(run[variant], options.device) for variant in VARIANTS} for _ in range(options.rounds)]
        for variant in VARIANTS:
            figures[f"{variant}_s"] = statistics.median(times[variant] for times in rounds)
            figures[f"{variant}_mib"] = peak_in_process(options, variant)
        for variant in VARIANTS[1:]:
            figures[f"{variant}_time_ratio"] = statistics.median(times[variant] / times["bare"] for times in rounds)
        figures["readout_bytes"] = (folder / "entropy.parquet").stat().st_size
        figures["readout_vs_eager"] = float(np.abs(means["readout"] - means["eager"]).max())
        if options.transformer_lens:
            figures |= lens_in_process(options, prompts, means["readout"], folder)
            figures["lens_over_readout_time"] = figures["lens_s"] / figures["readout_s"]
            figures["lens_over_readout_bytes"] = figures["lens_bytes"] / figures["readout_bytes"]
            beyond = statistics.median(times["readout"] - times["bare"] for times in rounds)
            figures["lens_over_readout_beyond_forward"] = (figures["lens_s"] - figures["lens_forward_s"]) / beyond if beyond > 0 else None
    return figures


def token_ids(preamble: int) -> list[list[int]]:
    """The role-focus prompts, shortest first, through a tokenizer trained on them, each after the same `preamble` random tokens."""
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from personascope.ingest.prompts import load_prompt_set
    from personascope.ingest.tiny.tokenizer import train_tokenizer

    questions = [each.question for each in load_prompt_set("role-focus").prompts]
    tokenizer = train_tokenizer(questions * 20, VOCABULARY)
    before = np.random.default_rng(0).integers(0, VOCABULARY, preamble).tolist()
    return sorted((before + tokenizer.encode(each) for each in questions), key=len)


def build(options: argparse.Namespace) -> Qwen2ForCausalLM:
    """The random model; its init is wide enough that heads differ and some are sharp."""
    torch.manual_seed(0)
    config = Qwen2Config(**SHAPE, vocab_size=VOCABULARY, num_hidden_layers=options.layers, max_position_embeddings=LONGEST, initializer_range=0.06)
    return Qwen2ForCausalLM(config).to(options.device).eval()


def batches(prompts: list[list[int]], batch_tokens: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """input_ids [B, T], padded on the right, and lengths [B], of no more than `batch_tokens` tokens with their padding."""
    start = 0
    while start < len(prompts):
        end = start + 1
        while end < len(prompts) and (end + 1 - start) * len(prompts[end]) <= batch_tokens:
            end += 1
        lengths = torch.tensor([len(each) for each in prompts[start:end]])
        yield torch.tensor([each + [0] * (int(lengths.max()) - len(each)) for each in prompts[start:end]]), lengths
        start = end


def variants(options: argparse.Namespace, prompts: list[list[int]], folder: Path) -> dict[str, Callable[[], np.ndarray | None]]:
    """The three ways through this project's transformers; two give mean entropies [prompts, layers, heads]."""
    import pyarrow as pa

    from personascope.extract.instruments.attention_calls import attention_implementation
    from personascope.extract.instruments.attention_readout import right_padded, run_decoder
    from personascope.extract.instruments.row_entropy import FIGURES, read_entropy
    from personascope.warehouse.store.parquet import write_parquet
    from personascope.warehouse.store.schema import tables

    model = build(options)
    cut = list(batches(prompts, options.batch_tokens))

    @torch.inference_mode()
    def bare() -> None:
        for ids, lengths in cut:
            run_decoder(model, ids.to(options.device), right_padded(lengths, ids.shape[1]))

    def readout() -> np.ndarray:
        with torch.inference_mode():
            values = torch.cat([read_entropy(model, ids, lengths, fuse=False).values for ids, lengths in cut]).numpy()
        target = tables()["entropy"]
        write_parquet(target, rows(values, FIGURES, pa).cast(target.arrow).to_batches(), folder / "entropy.parquet")
        return values[..., 0]

    @torch.inference_mode()
    def eager() -> np.ndarray:
        means = []
        with attention_implementation(model, "eager"):
            for ids, lengths in cut:
                real = right_padded(lengths, ids.shape[1]).to(options.device)
                found = run_decoder(model, ids.to(options.device), real, output_attentions=True).attentions
                entropies = torch.stack([torch.special.entr(layer.float()).sum(-1) for layer in found], dim=1)
                means.append(((entropies * real[:, None, None]).sum(-1) / real.sum(-1)[:, None, None]).cpu())
        return torch.cat(means).numpy()

    def rows(values: np.ndarray, names: tuple[str, ...], arrow: Any) -> Any:
        n, n_layers, n_heads = values.shape[:3]
        order = values.transpose(1, 2, 0, 3).reshape(-1, len(names))
        index = np.tile(np.arange(n), n_layers * n_heads)
        words = {name: name for name in ("run_id", "subject", "checkpoint", "prompt_set", "form", "persona", "condition", "category", "path")}
        columns: dict[str, Any] = {name: arrow.array(np.full(len(index), word)) for name, word in words.items()}
        columns |= {name: arrow.array(np.char.add("self_referent/q", index.astype(str))) for name in ("question_id", "example_id")}
        columns["layer"] = np.repeat(np.arange(n_layers, dtype=np.int32), n_heads * n)
        columns["head"] = np.tile(np.repeat(np.arange(n_heads, dtype=np.int32), n), n_layers)
        columns["n_positions"] = np.array([len(each) for each in prompts], dtype=np.int32)[index]
        columns |= {name: arrow.array(order[:, number], from_pandas=True) for number, name in enumerate(names)}
        return arrow.table({name: columns[name] for name in tables()["entropy"].columns})

    return {"bare": bare, "readout": readout, "eager": eager}


def lens_in_process(options: argparse.Namespace, prompts: list[list[int]], means: np.ndarray, folder: Path) -> dict[str, Any]:
    """Figures of the published way in the other environment, extrapolated from prompts spread over the lengths, and its distance from the readout."""
    chosen = np.linspace(0, len(prompts) - 1, options.lens_prompts).round().astype(int)
    model = build(options)
    torch.save({"state": model.state_dict(), "prompts": [prompts[number] for number in chosen], "vocabulary": VOCABULARY}, folder / "job.pt")
    arguments = {"--lens-job": folder / "job.pt", "--layers": options.layers, "--threads": options.threads, "--device": options.device}
    command = [options.transformer_lens, __file__, *(str(part) for pair in arguments.items() for part in pair)]
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])
    scale = len(prompts) / len(chosen)
    exact = np.array(found.pop("means"))
    return {
        "lens_prompts": len(chosen),
        "lens_s": found["s"] * scale,
        "lens_forward_s": found["forward_s"] * scale,
        "lens_mib": found["mib"],
        "lens_bytes": round(found["bytes"] * scale),
        "lens_versions": found["versions"],
        "readout_vs_lens": float(np.abs(means[chosen] - exact).max()),
    }


def lens_figures(options: argparse.Namespace) -> dict[str, Any]:
    """In the environment of TransformerLens: seconds, peak MiB, bytes of the patterns and mean entropies [prompts, layers, heads] of the saved prompts."""
    import transformer_lens
    import transformers
    from transformer_lens import HookedTransformer

    job = torch.load(options.lens_job, weights_only=True)
    config = Qwen2Config(**SHAPE, vocab_size=job["vocabulary"], num_hidden_layers=options.layers, max_position_embeddings=LONGEST)
    source = Qwen2ForCausalLM(config).eval()
    source.load_state_dict(job["state"])
    model = hooked(HookedTransformer, source, config, options)
    del source
    means, forward = [], 0.0
    with torch.inference_mode(), tempfile.TemporaryDirectory() as name:
        model.run_with_cache(torch.tensor([job["prompts"][0]]))
        before = reset_peak(options.device)
        started = time.perf_counter()
        for number, ids in enumerate(job["prompts"]):
            begun = time.perf_counter()
            _, cache = model.run_with_cache(torch.tensor([ids], device=options.device))
            patterns = {f"layer_{layer}": cache["pattern", layer][0].float().cpu().numpy() for layer in range(options.layers)}
            forward += time.perf_counter() - begun
            np.savez_compressed(Path(name) / f"{number}.npz", **patterns)
            means.append([[mean_entropy(head) for head in patterns[f"layer_{layer}"]] for layer in range(options.layers)])
        taken, mib = time.perf_counter() - started, peak_above(before, options.device)
        size = sum(path.stat().st_size for path in Path(name).iterdir())
    versions = f"transformer_lens {getattr(transformer_lens, '__version__', '2.16.1')}, transformers {transformers.__version__}"
    return {"s": taken, "forward_s": forward, "mib": mib, "bytes": size, "means": np.array(means).tolist(), "versions": versions}


def hooked(kind: Any, source: Qwen2ForCausalLM, config: Qwen2Config, options: argparse.Namespace) -> Any:
    """The same weights in TransformerLens, norms and centring left as they are."""
    from transformer_lens import HookedTransformerConfig
    from transformer_lens.pretrained.weight_conversions import convert_qwen2_weights

    shape = HookedTransformerConfig(
        d_model=config.hidden_size,
        d_head=config.hidden_size // config.num_attention_heads,
        n_heads=config.num_attention_heads,
        n_key_value_heads=config.num_key_value_heads,
        d_mlp=config.intermediate_size,
        n_layers=config.num_hidden_layers,
        n_ctx=config.max_position_embeddings,
        eps=config.rms_norm_eps,
        d_vocab=config.vocab_size,
        act_fn="silu",
        normalization_type="RMS",
        positional_embedding_type="rotary",
        rotary_dim=config.hidden_size // config.num_attention_heads,
        rotary_base=int(config.rope_theta) if getattr(config, "rope_theta", None) else 10000,
        rotary_adjacent_pairs=False,
        gated_mlp=True,
        final_rms=True,
        original_architecture="Qwen2ForCausalLM",
        device=options.device,
    )
    model = kind(shape)
    model.load_state_dict(convert_qwen2_weights(source, shape), strict=False)
    return model.eval()


def mean_entropy(pattern: np.ndarray) -> float:
    """Entropy of a head's pattern [T, T] in nats, one query position after the other, as published."""
    entropies = []
    for row in pattern:
        p = row + PUBLISHED_EPSILON
        p = p / p.sum()
        entropies.append(-np.sum(p * np.log(p)))
    return float(np.mean(entropies))


def seconds(run: Callable[[], object], device: str) -> float:
    """Wall time of one call."""
    gc.collect()
    start = time.perf_counter()
    run()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - start


def peak_in_process(options: argparse.Namespace, variant: str) -> float:
    """Peak memory of a variant in MiB, from a fresh process that gives freed tensors back at once (glibc would keep some)."""
    arguments = {
        "--layers": options.layers,
        "--preamble": options.preamble,
        "--batch-tokens": options.batch_tokens,
        "--threads": options.threads,
        "--device": options.device,
        "--peak": variant,
    }
    command = [sys.executable, __file__, *(str(part) for pair in arguments.items() for part in pair)]
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout)


def peak_memory(options: argparse.Namespace) -> float:
    """MiB above what is held once the model is built and one short prompt has been read."""
    prompts = token_ids(options.preamble)
    with tempfile.TemporaryDirectory() as name:
        variants(options, prompts[:1], Path(name))[options.peak]()
        run = variants(options, prompts, Path(name))[options.peak]
        gc.collect()
        before = reset_peak(options.device)
        run()
        return peak_above(before, options.device)


def reset_peak(device: str) -> float:
    """What is held now, in MiB; the high-water mark falls to it."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / 2**20
    Path("/proc/self/clear_refs").write_text("5")  # getrusage would keep the old mark
    return high_water()


def peak_above(before: float, device: str) -> float:
    """MiB of the high-water mark above `before`."""
    return (torch.cuda.max_memory_allocated() / 2**20 if device.startswith("cuda") else high_water()) - before


def high_water() -> float:
    """Peak resident memory of this process in MiB (Linux)."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 2**10


def show(figures: dict[str, Any]) -> None:
    """The figures for people."""
    title = f"{figures['prompts']} prompts, {figures['tokens']} tokens, load {figures['load']:.1f} at the start"
    table = Table("variant", "time", "against bare", "peak MiB", "on disk", "largest difference", title=title)
    for name in VARIANTS:
        ratio = f"{figures[f'{name}_time_ratio']:.2f} x" if name != "bare" else "1"
        disk = f"{figures['readout_bytes'] / 2**20:.2f} MiB" if name == "readout" else "-"
        error = f"{figures['readout_vs_eager']:.1e} of readout" if name == "eager" else "-"
        table.add_row(name, f"{figures[f'{name}_s']:.2f} s", ratio, f"{figures[f'{name}_mib']:.0f}", disk, error)
    if "lens_s" in figures:
        words = f"lens, extrapolated from {figures['lens_prompts']} prompts"
        disk = f"{figures['lens_bytes'] / 2**20:.2f} MiB"
        error = f"{figures['readout_vs_lens']:.1e} of readout"
        table.add_row(words, f"{figures['lens_s']:.2f} s", f"{figures['lens_s'] / figures['bare_s']:.2f} x", f"{figures['lens_mib']:.0f}", disk, error)
    console = Console(stderr=True, width=120)
    console.print(table)
    if figures.get("lens_over_readout_beyond_forward"):
        console.print(
            f"Of the lens's time {figures['lens_forward_s']:.1f} s are its forward passes; the rest is {figures['lens_over_readout_beyond_forward']:.0f} times "
            "what the readout adds to the bare pass."
        )


if __name__ == "__main__":
    main()
