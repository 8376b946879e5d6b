"""Processor time of ablating every head of every layer, beside one hooked forward pass per head; run it, it is not a test.

A randomly initialised model of one of two shapes (SmolLM2's 30 layers of 9 heads; 28 layers of 28 heads, narrow so that it can be measured), or a checkpoint,
reads the 44 prompts of one wording of the shipped echo set:
- naive: for every head a full forward pass with a hook that zeroes the head's output, on one prompt; with logits of all positions, as
  the model gives them unasked, and with those of the last alone;
- ablations: the extractor's own path on all prompts, clean passes included, up to the logits of every variant.
Both are measured on the middle layer of each `--every` layers, whose mean is that of all layers.
Times are per prompt and head, in one process on `--threads` threads; the ratio is that of their medians over rounds that run the two one after the other.
The floor counts the operations of both: what the ratio would be if both ran at the speed of one matrix product.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from personascope.extract.extractors.ablations import ablated_logits, unchanged_logits
from personascope.extract.extractors.head_methods import Variant, shared_prefix
from personascope.extract.extractors.targets import Targeted
from personascope.extract.instruments.components import Components, find_components
from personascope.extract.instruments.replay import clean_passes, editing_everywhere
from personascope.extract.texts.chat import render
from personascope.ingest.prompts import load_prompt_set
from personascope.ingest.tiny.tokenizer import train_tokenizer

SHAPES: dict[str, dict[str, Any]] = {
    "smollm2": {"family": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3},
    "28x28": {"family": "qwen2", "hidden_size": 448, "intermediate_size": 2368, "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4},
}
VOCABULARY = 49152


def main() -> None:
    """Print a table for each shape to stderr and a JSON line to stdout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=list(SHAPES), action="append", help="default: both")
    parser.add_argument("--checkpoint", help="folder of a real model, instead of random ones")
    parser.add_argument("--prompts", type=int, default=44)
    parser.add_argument("--every", type=int, help="odd divisor of the number of layers (default: 5 of 30, 7 of 28, else 1)")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--batch-tokens", type=int, default=8192)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for shape in ["checkpoint"] if options.checkpoint else options.shape or list(SHAPES):
        with torch.inference_mode():
            figures = measure(*prepare(shape, options), options)
        show(shape, figures)
        print(json.dumps(vars(options) | figures | {"shape": shape}))


def prepare(shape: str, options: argparse.Namespace) -> tuple[Components, list[Targeted]]:
    """The model, and the echo prompts of one wording as it reads them."""
    prompts = [each for each in load_prompt_set("echo").prompts if each.prompt_form == "repeat"][: options.prompts]
    if options.checkpoint:
        tokenizer: Any = AutoTokenizer.from_pretrained(options.checkpoint, local_files_only=True)
        model: Any = AutoModelForCausalLM.from_pretrained(options.checkpoint, dtype=torch.float32, local_files_only=True)
    else:
        tokenizer = train_tokenizer([each.question for each in prompts] * 20, 600)
        sizes = dict(SHAPES[shape])
        torch.manual_seed(0)
        config = AutoConfig.for_model(sizes.pop("family"), **sizes, vocab_size=VOCABULARY, max_position_embeddings=512, initializer_range=0.06)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    members = []
    for each in prompts:
        ids = render(tokenizer, each.system_prompt, each.question).token_ids
        target = tokenizer.encode(each.target, add_special_tokens=False)[0]
        members.append(Targeted("none", None, None, each.question_id, each.example_id, None, "repeat", each.target, "last", tuple(ids), target, 1))
    return find_components(model.eval().requires_grad_(False)), members


def measure(components: Components, members: list[Targeted], options: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds per prompt and head of each way, their ratios, the floor, and the largest difference of a logit."""
    model, length = components.model, shared_prefix(members)
    layers, heads = components.n_layers, components.n_heads
    looked = torch.randperm(len(components.unembedding), generator=torch.Generator().manual_seed(0))[:1000]
    every = options.every or {30: 5, 28: 7}.get(layers, 1)
    sample = list(range(every // 2, layers, every))
    exact = torch.empty(len(members), len(sample), heads, len(looked))
    ids = torch.tensor([members[0].token_ids])
    plain = torch.empty(len(sample), heads, len(looked))

    cleans = clean_passes(components, [each.token_ids for each in members], length)
    bases = unchanged_logits(components, cleans)

    def clean() -> None:
        unchanged_logits(components, clean_passes(components, [each.token_ids for each in members], length))

    def fast() -> None:
        for place, layer in enumerate(sample):
            variants = [Variant(layer, head, "zero") for head in range(heads)]
            for number, _, logits in ablated_logits(components, cleans, bases, variants, length, options.batch_tokens):
                exact[number, place] = logits[:, looked]

    def naive(keep: int) -> None:
        for place, layer in enumerate(sample):
            for head in range(heads):
                with editing_everywhere(components, layer, head, 0.0, torch.zeros(())):
                    plain[place, head] = model(input_ids=ids, use_cache=False, logits_to_keep=keep).logits[0, -1, looked]

    ways: dict[str, tuple[Callable[[], None], int]] = {
        "naive, logits of all positions": (lambda: naive(0), len(sample) * heads),
        "naive, logits of the last position": (lambda: naive(1), len(sample) * heads),
        "ablations": (fast, len(members) * len(sample) * heads),
        "clean passes": (clean, len(members) * layers * heads),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, (call, count) in ways.items():
            with clocked(times[name], count):
                call()
    ms = {name: 1e3 * statistics.median(each) for name, each in times.items()}
    ms["ablations"] += ms.pop("clean passes")
    of_naive, of_last, of_ours = operations(components, members, length)
    return {
        "ms": ms,
        "gflop": {"naive, logits of all positions": of_naive / 1e9, "naive, logits of the last position": of_last / 1e9, "ablations": of_ours / 1e9},
        "ratio": ms["naive, logits of all positions"] / ms["ablations"],
        "ratio_last": ms["naive, logits of the last position"] / ms["ablations"],
        "floor": of_naive / of_ours,
        "floor_last": of_last / of_ours,
        "largest_difference": float((exact[0] - plain).abs().max()),
        "tokens": [min(len(each.token_ids) for each in members), max(len(each.token_ids) for each in members)],
        "shared_tokens": length,
        "heads": [layers, heads],
    }


def operations(components: Components, members: list[Targeted], length: int) -> tuple[float, float, float]:
    """Operations per prompt and head of a plain pass with all logits, with the last ones, and of the replay; products of weights alone."""
    block = components.stream.blocks[0]
    layer = 2.0 * sum(weight.numel() for weight in block.module.parameters() if weight.ndim == 2)
    mlp = 2.0 * sum(weight.numel() for weight in block.branches["mlp_out"].parameters() if weight.ndim == 2)
    out, row = 2.0 * components.projections[0].weight.numel(), 2.0 * components.unembedding.numel()  # type: ignore[operator]
    mean = sum(len(each.token_ids) for each in members) / len(members)
    suffix, layers = mean - length, components.n_layers
    tokens = suffix + length / len(members)
    above = (layers - 1) / 2 * layer * tokens - (layers - 1) / layers * (tokens - 1) * (mlp + out)
    changed = (mlp + out) * (tokens * (layers - 1) + 1) / layers
    return mean * (layers * layer + row), mean * layers * layer + row, above + changed + row


@contextmanager
def clocked(times: list[float], count: int) -> Iterator[None]:
    """Adds the processor time of a block, over `count`."""
    started = time.process_time()
    yield
    times.append((time.process_time() - started) / count)


def show(shape: str, figures: dict[str, Any]) -> None:
    layers, heads = figures["heads"]
    table = Table(
        title=f"{shape}: {layers} × {heads} heads, {figures['tokens'][0]} to {figures['tokens'][1]} tokens a prompt, {figures['shared_tokens']} of them shared"
    )
    for name in ("per prompt and head", "ms of processor time", "GFLOP", "GFLOP/s"):
        table.add_column(name, justify="left" if name.startswith("per") else "right")
    for name, value in figures["ms"].items():
        table.add_row(name, f"{value:.2f}", f"{figures['gflop'][name]:.2f}", f"{1e3 * figures['gflop'][name] / value:.0f}")
    console = Console(stderr=True, width=130)
    console.print(table)
    for against, ratio, floor in (("all", "ratio", "floor"), ("the last", "ratio_last", "floor_last")):
        console.print(f"{figures[ratio]:.1f} times as fast as a pass per head with {against} logits; by operations alone {figures[floor]:.1f}")
    console.print(f"largest difference of a logit {figures['largest_difference']:.1e}")


if __name__ == "__main__":
    main()
