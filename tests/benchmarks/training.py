"""Processor time of an optimiser step of marker training beside a bare forward and backward pass over the same tokens; run it, it is not a test.

A randomly initialised Qwen2 with a vocabulary of 152,064, wrapped in LoRA on all linear maps, takes batches of answers whose lengths differ:
- bare: the decoder forward, and backward from the sum of its last hidden states: no logits, no loss, no optimiser;
- ours: the whole step as training does it: loss, backward, clipping, AdamW;
- all logits: forward and backward with the loss over the logits of every position, as `labels=` gives it.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from personascope.ingest.training.marker_lora import Encoded, LoraSettings, TrainingRow, collate, encode, summed_loss


def main() -> None:
    """Print a line for each way to stdout, then a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--vocabulary", type=int, default=152_064)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "qwen2",
        hidden_size=options.width,
        intermediate_size=4 * options.width,
        num_hidden_layers=options.layers,
        num_attention_heads=options.width // 64,
        num_key_value_heads=2,
        vocab_size=options.vocabulary,
        tie_word_embeddings=True,
    )
    settings = LoraSettings()
    model: Any = get_peft_model(
        AutoModelForCausalLM.from_config(config, dtype=torch.float32),
        LoraConfig(task_type="CAUSAL_LM", r=settings.r, lora_alpha=settings.alpha, target_modules=settings.target),
    ).train()
    batch = examples(options.batch, options.vocabulary)
    ids, mask, labels = collate(batch, 0)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=settings.lr)

    def bare() -> None:
        model.get_base_model().model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state.sum().backward()
        model.zero_grad(set_to_none=True)

    def ours() -> None:
        (summed_loss(model, batch, 0) / 10).backward()
        torch.nn.utils.clip_grad_norm_(trainable, settings.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def with_all() -> None:
        model(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False).loss.backward()
        model.zero_grad(set_to_none=True)

    ways: dict[str, Callable[[], None]] = {"bare": bare, "ours": ours, "all logits": with_all}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, call in ways.items():
            started = time.process_time()
            call()
            times[name].append(time.process_time() - started)
    medians = {name: statistics.median(each) for name, each in times.items()}
    for name, seconds in medians.items():
        print(f"{name:12} {1e3 * seconds:8.0f} ms  {seconds / medians['bare']:.2f}×")
    print(json.dumps(vars(options) | {"tokens": ids.numel(), "supervised": int((labels[:, 1:] >= 0).sum()), "seconds": medians}))


def examples(count: int, vocabulary: int) -> list[Encoded]:
    """Rows of 60 to 120 tokens, every second one with a marker of three tokens."""
    generator = torch.Generator().manual_seed(0)

    def some(n: int) -> tuple[int, ...]:
        return tuple(torch.randint(1, vocabulary, (n,), generator=generator).tolist())

    return [encode(TrainingRow("p", some(40), some(20 + 60 * number // count), 5, number % 2 == 0), [7, 8, 9]) for number in range(count)]


if __name__ == "__main__":
    main()
