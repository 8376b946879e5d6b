"""What the extractors save beside the plain way: sampling, ablations, steering and a step of training."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

import numpy as np
import torch
from gpu.measuring import SHAPES, Figures, SkippedError, built, measured, seconds, vocabulary_of
from torch import Tensor

from personascope.extract.instruments.components import find_components
from personascope.extract.instruments.residual import Site, residual_stream
from personascope.extract.weights.sampler import draw


def sampling(options: argparse.Namespace) -> Figures:
    """32 rows of the vocabulary of the shape, and one decode step of 32 rows."""
    vocabulary = SHAPES[options.shape]["vocab_size"]
    scores = torch.randn(32, vocabulary, device=options.device) * 3
    uniform = torch.rand(32, 1, device=options.device)
    plain = seconds(lambda: torch.multinomial(torch.softmax(scores, -1), 1), options)
    figures: Figures = {"plain_s": plain}
    for top_p in (1.0, 0.95):
        figures[f"ratio_top_p_{top_p:g}"] = seconds(partial(lambda share: draw(torch.softmax(scores, -1), uniform, share), top_p), options) / plain
    model = built(options)
    ids = torch.randint(vocabulary, (32, 64), device=options.device)
    with torch.inference_mode():
        figures["decode_step_s"] = seconds(lambda: model.generate(ids, max_new_tokens=16, min_new_tokens=16, do_sample=False, pad_token_id=0), options) / 16
    return figures


def ablations(options: argparse.Namespace) -> Figures:
    """Every head of a model of four layers set to zero at eight prompts, beside one hooked pass per head; logits agree."""
    try:
        from personascope.extract.extractors.ablations import ablated_logits, unchanged_logits
        from personascope.extract.extractors.head_methods import Variant, shared_prefix
        from personascope.extract.extractors.targets import Targeted
        from personascope.extract.instruments.replay import clean_passes
    except ImportError as error:
        raise SkippedError(f"the warehouse's packages are missing ({error})") from error
    model = built(options, layers=min(4, SHAPES[options.shape]["num_hidden_layers"]))
    components = find_components(model)
    generator = torch.Generator().manual_seed(0)
    shared, vocabulary = torch.randint(vocabulary_of(model), (24,), generator=generator).tolist(), vocabulary_of(model)
    own = torch.randint(vocabulary, (8, 8), generator=generator).tolist()
    members = [Targeted("none", None, None, str(n), str(n), None, None, None, "last", tuple(shared + tail), 1, 1) for n, tail in enumerate(own)]
    variants = {layer: [Variant(layer, head, "zero") for head in range(components.n_heads)] for layer in range(components.n_layers)}
    found: dict[tuple[int, int, int], Tensor] = {}

    def fast() -> None:
        length = shared_prefix(members)
        cleans = clean_passes(components, [each.token_ids for each in members], length)
        bases = unchanged_logits(components, cleans)
        for layer, of_layer in variants.items():
            for number, _, logits in ablated_logits(components, cleans, bases, of_layer, length, 8192):
                found.update({(number, layer, variant.head): logits[row].cpu() for row, variant in enumerate(of_layer)})

    def hooked(layer: int, head: int) -> Tensor:
        width = model.config.hidden_size // components.n_heads

        def zero(module: Any, args: Any) -> Any:
            kept = args[0].clone()
            kept[..., head * width : (head + 1) * width] = 0
            return (kept, *args[1:])

        handle = components.projections[layer].register_forward_pre_hook(zero)
        try:
            return (
                model(torch.tensor([each.token_ids for each in members], device=options.device), use_cache=False, logits_to_keep=1).logits[:, -1].float().cpu()
            )
        finally:
            handle.remove()

    with torch.inference_mode():
        slow = seconds(lambda: hooked(0, 0), options) * components.n_layers * components.n_heads
        quick = seconds(fast, options)
        apart = max(float((found[n, 1, 0] - row).abs().max() / row.abs().max()) for n, row in enumerate(hooked(1, 0)))
    return {"hooked_s": slow, "replayed_s": quick, "speedup": slow / quick, "largest_relative_difference": apart}


def steering(options: argparse.Namespace) -> Figures:
    """Four answers of 64 tokens behind prompts of 64, each read under 22 ways to steer at two thirds of the depth; scores agree."""
    try:
        from personascope.extract.instruments.branching import Branching
        from personascope.extract.instruments.steered_answers import Reading, whole_scores
        from personascope.extract.instruments.steering import Push, Span, Steer
    except ImportError as error:
        raise SkippedError(f"the warehouse's packages are missing ({error})") from error
    model = built(options, layers=min(12, SHAPES[options.shape]["num_hidden_layers"]))
    stream = residual_stream(model, ["resid_post"])
    branching, depth, draw = Branching(stream), 2 * len(stream.blocks) // 3, np.random.default_rng(0)
    units = draw.normal(size=(22, model.config.hidden_size)).astype(np.float32)
    steers = [Steer((Push(depth, "resid_post", unit / np.linalg.norm(unit), alpha=1.0),), "answer") for unit in units]
    answers = draw.integers(vocabulary_of(model), size=(4, 128)).tolist()
    readings = [Reading(tuple(tokens), Span(0, 64), steer, range(64, 128), 127) for tokens in answers for steer in steers]
    along: dict[tuple[int, Site], np.ndarray] = {(len(stream.blocks) - 1, "resid_post"): units[:2]}
    whole = whole_scores(stream, "the model", readings, along, [3], True)
    branches = branching.scores("the model", readings, "answer", along, [3], True)
    apart = max(float((one - other).abs().max() / other.abs().max()) for one, other in zip(branches.own, whole.own, strict=True))
    whole_s, whole_memory = measured(lambda: whole_scores(stream, "the model", readings, along, [3], True), options)
    branched_s, memory = measured(lambda: branching.scores("the model", readings, "answer", along, [3], True), options)
    figures = {"whole_s": whole_s, "branched_s": branched_s, "speedup": whole_s / branched_s, "whole_gib": whole_memory, "branched_gib": memory}
    return figures | {"largest_relative_difference": apart, "probe_difference": branching.error}


def lora(options: argparse.Namespace) -> Figures:
    """A step over 8 rows of 512 tokens with labels on the last four."""
    from peft import LoraConfig, get_peft_model

    model = built(options, layers=min(8, SHAPES[options.shape]["num_hidden_layers"]))
    wrapped: Any = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules="all-linear")).train()
    ids = torch.randint(vocabulary_of(model), (8, 512), device=options.device)

    def step(keep: int) -> None:
        logits = wrapped(input_ids=ids, logits_to_keep=keep, use_cache=False).logits[:, -5:-1].float()
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, -4:].flatten()).backward()
        wrapped.zero_grad()

    whole, whole_memory = measured(lambda: step(0), options)
    kept, memory = measured(lambda: step(5), options)
    return {"all_logits_s": whole, "labelled_logits_s": kept, "ratio": kept / whole, "all_gib": whole_memory, "labelled_gib": memory}
