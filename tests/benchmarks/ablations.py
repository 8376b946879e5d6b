"""Time of ablating every head of every layer, beside one hooked forward pass per head; run it, it is not a test.

A randomly initialised Qwen2 of 28 layers reads prompts of the shipped echo set through a tokenizer trained on them:
- naive: for every head a full forward pass with a hook that zeroes the head's output, on a few prompts;
- ablations: the extractor's own path on all prompts (it shares the layers below a head, the heads of a layer and the tokens prompts begin with).
Times are per prompt and head; the ratio is that of their medians over rounds that run the two one after the other. The difference is the largest one of the
target's logit. The first-order estimate of all heads (attribution patching, one backward pass) is timed too, with its rank correlation with the exact values.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr
from transformers import Qwen2Config, Qwen2ForCausalLM

from personascope.extract.extractors.ablations import ablated_logits
from personascope.extract.extractors.head_methods import Variant, shared_prefix, sieve_of
from personascope.extract.extractors.targets import Targeted
from personascope.extract.instruments.components import Components, find_components
from personascope.extract.texts.chat import render
from personascope.ingest.prompts import load_prompt_set
from personascope.ingest.tiny.tokenizer import train_tokenizer

SHAPE: dict[str, Any] = {"hidden_size": 384, "intermediate_size": 1024, "num_attention_heads": 12, "num_key_value_heads": 2}


def main() -> None:
    """Print the table to stderr and one JSON line to stdout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=28)
    parser.add_argument("--prompts", type=int, default=44)
    parser.add_argument("--naive-prompts", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-tokens", type=int, default=8192)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    components, members = prepare(options)
    variants = {layer: [Variant(layer, head, "zero") for head in range(components.n_heads)] for layer in range(components.n_layers)}
    n_heads = components.n_heads * components.n_layers
    length = shared_prefix(members)
    exact = torch.empty(len(members), components.n_layers, components.n_heads)
    plain = torch.empty(options.naive_prompts, components.n_layers, components.n_heads)

    def fast() -> None:
        for number, chunk, logits in ablated_logits(components, members, variants, length, options.batch_tokens):
            own = logits[:, members[number].target_id].cpu()
            exact[number, chunk[0].layer, [variant.head for variant in chunk]] = own[1:] - own[0]

    def naive() -> None:
        for number, each in enumerate(members[: options.naive_prompts]):
            plain[number] = one_by_one(components, each)

    def bare() -> None:
        for each in members:
            components.model(input_ids=torch.tensor([each.token_ids], device=options.device), use_cache=False)

    estimate = None

    def sieve() -> None:
        nonlocal estimate
        estimate = sieve_of(components, members, options.batch_tokens)

    run: dict[str, tuple[Callable[[], None], int]] = {
        "bare forward pass": (bare, len(members)),
        "naive, a pass per head": (naive, options.naive_prompts * n_heads),
        "ablations": (fast, len(members) * n_heads),
        "first-order estimate": (sieve, len(members) * n_heads),
    }
    with torch.inference_mode():
        fast()
        times: dict[str, list[float]] = {name: [] for name in run}
        for _ in range(options.rounds):
            for name, (call, count) in run.items():
                times[name].append(seconds(call, options.device) / count)
    medians = {name: statistics.median(each) for name, each in times.items()}
    assert estimate is not None
    figures: dict[str, Any] = {
        "ms": {name: 1e3 * value for name, value in medians.items()},
        "ratio": medians["naive, a pass per head"] / medians["ablations"],
        "largest_difference": float((exact[: options.naive_prompts] - plain).abs().max()),
        "estimate_spearman": float(spearmanr(estimate.flatten(), exact.flatten()).statistic),
        "tokens": len(members[0].token_ids),
        "shared_tokens": length,
    }
    show(figures)
    print(json.dumps(vars(options) | SHAPE | figures))


def prepare(options: argparse.Namespace) -> tuple[Components, list[Targeted]]:
    """A random model on the device, and the echo prompts of one wording as it reads them."""
    prompts = [each for each in load_prompt_set("echo").prompts if each.prompt_form == "repeat"][: options.prompts]
    tokenizer = train_tokenizer([each.question for each in prompts] * 20, 600)
    torch.manual_seed(0)
    config = Qwen2Config(**SHAPE, vocab_size=len(tokenizer), num_hidden_layers=options.layers, max_position_embeddings=512, initializer_range=0.06)
    model = Qwen2ForCausalLM(config).eval().requires_grad_(False).to(options.device)
    members = []
    for each in prompts:
        ids = render(tokenizer, each.system_prompt, each.question).token_ids
        target = tokenizer.encode(each.target, add_special_tokens=False)[0]
        members.append(Targeted("none", None, None, each.question_id, each.example_id, None, "repeat", each.target, "last", tuple(ids), target, 1))
    return find_components(model), members


def one_by_one(components: Components, target: Targeted) -> torch.Tensor:
    """Change of the target's logit [L, H] when each head is zeroed, by a hooked forward pass for every one."""
    ids = torch.tensor([target.token_ids], device=components.model.device)
    base = components.model(input_ids=ids, use_cache=False).logits[0, -1, target.target_id]
    change = torch.empty(components.n_layers, components.n_heads)
    for layer, projection in enumerate(components.projections):
        for head in range(components.n_heads):

            def zero(module: torch.nn.Module, args: tuple[Any, ...], head: int = head) -> tuple[Any, ...]:
                outputs = args[0].clone().unflatten(-1, (components.n_heads, -1))
                outputs[..., head, :] = 0
                return (outputs.flatten(-2),)

            handle = projection.register_forward_pre_hook(zero)
            change[layer, head] = components.model(input_ids=ids, use_cache=False).logits[0, -1, target.target_id] - base
            handle.remove()
    return change


def seconds(call: Callable[[], None], device: str) -> float:
    """Wall time of one call."""
    if device == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    call()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def show(figures: dict[str, Any]) -> None:
    table = Table(title=f"{figures['tokens']} tokens a prompt, {figures['shared_tokens']} of them shared")
    table.add_column("per prompt and head (the bare pass: per prompt)")
    table.add_column("ms", justify="right")
    for name, value in figures["ms"].items():
        table.add_row(name, f"{value:.3f}")
    console = Console(stderr=True, width=110)
    console.print(table)
    console.print(
        f"ablations are {figures['ratio']:.1f} times as fast as a pass per head; largest difference of a logit {figures['largest_difference']:.1e}; "
        f"rank correlation of the estimate {figures['estimate_spearman']:.2f}"
    )


if __name__ == "__main__":
    main()
