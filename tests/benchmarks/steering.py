"""Processor time of sampling under steering beside plain sampling of the same batch, and of reading answers in branches beside whole passes; run it, no test.

A randomly initialised model, or `--checkpoint FOLDER`, draws `--new` tokens behind `--rows` prompts of the shipped persona set, by the engine that the
extractor uses: steered at one layer, at all layers at once, and by several modes in one batch. No answer ends, so that all ways run through as many steps.
Then as many answers are read under `--arms` ways to steer at two thirds of the depth: given ones, each under every way, and drawn ones, which all differ.
Ratios are those of medians over rounds that run the ways one after the other, on `--threads` threads.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from personascope.extract.instruments.answer_scores import Place
from personascope.extract.instruments.branching import Branching
from personascope.extract.instruments.residual import ResidualStream, residual_stream
from personascope.extract.instruments.steered_answers import Reading, whole_scores
from personascope.extract.instruments.steering import Push, Span, Steer, steering
from personascope.extract.texts.chat import render
from personascope.extract.weights.engines import Request, TransformersEngine
from personascope.extract.weights.loading import LoadedModel
from personascope.ingest.prompts import load_prompt_set
from personascope.ingest.tiny.tokenizer import train_tokenizer
from personascope.ingest.weights.checkpoints import resolve

AIM = 1.1


def main() -> None:
    """Print the table to stderr and one JSON line to stdout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", help="folder of a real model (default: a random one)")
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--new", type=int, default=48)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=576)
    parser.add_argument("--vocabulary", type=int, default=49_152)
    parser.add_argument("--arms", type=int, default=22)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with TemporaryDirectory() as folder:
        source = Path(options.checkpoint) if options.checkpoint else random_model(Path(folder), options)
        figures, read = measure(source, options)
    table = Table(title=f"{options.rows} rows of {options.new} new tokens, processor time", title_justify="left")
    for name in ("way", "seconds", "ratio"):
        table.add_column(name, justify="left" if name == "way" else "right")
    for name, seconds in figures.items():
        ratio = seconds / figures["plain"]
        table.add_row(name, f"{seconds:.2f}", f"{ratio:.3f}{'' if ratio <= AIM else ' !'}")
    reading = Table(title=f"{options.rows} answers of {options.new} tokens under {options.arms} ways to steer, processor time", title_justify="left")
    for name in ("answers", "whole passes", "branches", "ratio"):
        reading.add_column(name, justify="left" if name == "answers" else "right")
    for name in ("given", "drawn"):
        whole, branches = read[f"{name}, whole passes"], read[f"{name}, branches"]
        reading.add_row(name, f"{whole:.2f}", f"{branches:.2f}", f"{whole / branches:.1f}")
    for each in (table, reading):
        Console(stderr=True, width=100).print(each)
    print(json.dumps(vars(options) | {"seconds": figures | read, "ratios": {name: each / figures["plain"] for name, each in figures.items()}}))


def measure(source: Path, options: argparse.Namespace) -> tuple[dict[str, float], dict[str, float]]:
    """Median seconds of each way to sample, and of each way to read."""
    checkpoint = resolve(source, name="measured")
    tokenizer = AutoTokenizer.from_pretrained(source)
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval().requires_grad_(False)
    loaded = LoadedModel(model, tokenizer, checkpoint, "cpu", "float32", "sdpa", ())
    prompts = load_prompt_set("personas").prompts[: options.rows]
    requests = [Request(render(tokenizer, each.system_prompt, each.question).token_ids, number) for number, each in enumerate(prompts)]
    width = max(len(each.token_ids) for each in requests)
    spans = [Span(width - len(each.token_ids), width) for each in requests]
    engine = TransformersEngine(loaded, [checkpoint.vocab_size - 1])  # a token that is all but never drawn, so that no answer ends
    blocks = residual_stream(loaded.model, ["resid_post"]).blocks
    vector = np.random.default_rng(0).normal(size=checkpoint.d_model)
    unit = (vector / np.linalg.norm(vector)).astype(np.float32)
    middle, every = checkpoint.n_layers // 2, range(checkpoint.n_layers)
    added = {layer: Push(layer, "resid_post", unit, alpha=1e-3) for layer in every}
    capped = {layer: Push(layer, "resid_post", unit, share=1.0, low=-1e6, high=1e6) for layer in every}

    def steered(steers: Sequence[Steer | None]) -> Callable[[], None]:
        def draw() -> None:
            with steering(blocks, steers, spans):
                engine.sample(requests, 1.0, 1.0, options.new)

        return draw

    mixed = [Steer((added[middle] if row % 2 else capped[middle],), "answer" if row % 3 else "all") if row % 4 else None for row in range(len(requests))]
    ways: dict[str, Callable[[], None]] = {
        "plain": lambda: void(engine.sample(requests, 1.0, 1.0, options.new)),
        "add, one layer": steered([Steer((added[middle],))] * len(requests)),
        "cap, one layer": steered([Steer((capped[middle],))] * len(requests)),
        "rows of many kinds, one layer": steered(mixed),
        "add, all layers at once": steered([Steer(tuple(added.values()))] * len(requests)),
        "cap, all layers at once": steered([Steer(tuple(capped.values()))] * len(requests)),
    }
    stream = residual_stream(loaded.model, ["resid_post"])
    return medians(ways, options.rounds), medians(ways_to_read(stream, requests, options), options.rounds)


def ways_to_read(stream: ResidualStream, requests: Sequence[Request], options: argparse.Namespace) -> dict[str, Callable[[], None]]:
    """Given answers, of which every one is read under all arms, and drawn ones, of which every arm has its own and the unsteered model is asked too."""
    branching, depth = Branching(stream), 2 * len(stream.blocks) // 3
    draw = np.random.default_rng(1)
    units = draw.normal(size=(options.arms, stream.model.config.hidden_size)).astype(np.float32)
    steers = [Steer((Push(depth, "resid_post", each / np.linalg.norm(each), alpha=1.0),), "answer") for each in units]
    along: dict[Place, np.ndarray] = {(len(stream.blocks) - 1, "resid_post"): units[:2]}

    def readings(is_drawn: bool) -> list[list[Reading]]:
        """In batches as the extractor cuts them: about 8,192 tokens; arms of one answer together, or answers of one arm."""
        answers = draw.integers(stream.model.config.vocab_size, size=(len(requests), options.arms if is_drawn else 1, options.new)).tolist()
        pairs = [(row, arm) for row in range(len(requests)) for arm in range(options.arms)]
        found = []
        for row, arm in sorted(pairs, key=lambda pair: pair[1]) if is_drawn else pairs:
            prompt, answer = requests[row].token_ids, answers[row][arm if is_drawn else 0]
            end = len(prompt) + len(answer)
            found.append(Reading((*prompt, *answer), Span(0, len(prompt)), steers[arm], range(len(prompt), end), end - 1))
        size = 8192 // max(len(each.tokens) for each in found)
        return [found[start : start + size] for start in range(0, len(found), size)]

    ways: dict[str, Callable[[], None]] = {}
    for name, is_drawn in (("given", False), ("drawn", True)):
        batches = readings(is_drawn)
        ways[f"{name}, whole passes"] = partial(void_all, [partial(whole_scores, stream, "m", each, along, [3], is_drawn) for each in batches])
        ways[f"{name}, branches"] = partial(void_all, [partial(branching.scores, "m", each, "answer", along, [3], is_drawn) for each in batches])
    return ways


def void_all(calls: Sequence[Callable[[], object]]) -> None:
    for call in calls:
        call()


def medians(ways: Mapping[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Median processor time of each way, seconds."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            started = time.process_time()
            way()
            if number:  # the first round warms up
                times[name].append(time.process_time() - started)
    return {name: statistics.median(each) for name, each in times.items()}


def void(_: object) -> None:
    """Nothing."""


def random_model(folder: Path, options: argparse.Namespace) -> Path:
    """A random model with a tokenizer of the shipped personas, in `folder`."""
    texts = [f"{each.system_prompt} {each.question}" for each in load_prompt_set("personas").prompts]
    tokenizer = train_tokenizer(texts * 3, 900)
    torch.manual_seed(0)
    heads = options.width // 64
    config = AutoConfig.for_model(
        "llama", vocab_size=options.vocabulary, hidden_size=options.width, intermediate_size=int(2.7 * options.width), num_hidden_layers=options.layers,
        num_attention_heads=heads, num_key_value_heads=heads, max_position_embeddings=1024, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


if __name__ == "__main__":
    main()
