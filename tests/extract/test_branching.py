"""Answers read in branches: in every family what whole passes of the steered model give, and shared tokens and layers go through the model once."""

from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
import pytest
import torch

from families import FAMILIES, random_model
from personascope.extract.instruments.answer_scores import Place
from personascope.extract.instruments.branching import Branching
from personascope.extract.instruments.residual import SITES, residual_stream
from personascope.extract.instruments.steered_answers import Reading, whole_scores
from personascope.extract.instruments.steering import Push, Span, Steer, Where
from personascope.warehouse.errors import PersonascopeError


def unit(seed: int) -> np.ndarray:
    vector = np.random.default_rng(seed).normal(size=32)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


# Layers that keep no keys, or take no cache; logits that are multiplied behind the output embeddings.
WHOLE = {"qwen3_next (linear attention)", "granite (multipliers)", "cohere (scaled logits)", "gpt_neox", "bloom", "mpt", "gptj"}
UNITS: dict[Place, np.ndarray] = {
    (0, "resid_pre"): np.stack([unit(1)]),
    (1, "resid_post"): np.stack([unit(2), unit(3)]),
    (2, "resid_post"): np.stack([unit(4)]),
}
STEERS = (
    None,
    Steer((Push(1, "resid_post", unit(5), alpha=2.0),), "answer"),
    Steer((Push(0, "resid_pre", unit(6), alpha=-1.5), Push(2, "resid_post", unit(7), share=1.0)), "answer"),
    Steer((Push(2, "mlp_out", unit(8), share=0.7, low=-0.1, high=0.2), Push(1, "attn_out", unit(9), alpha=1.0)), "answer"),
    Steer((Push(1, "resid_post", unit(5), alpha=0.0),), "answer"),
)


def readings(where: Where, steers: Sequence[Steer | None] = STEERS) -> list[Reading]:
    """Answers to prompts of which one is asked often, one twice and one once: the same, others, cut before the marker, without a token, not to be asked of."""
    draw = np.random.default_rng(4)
    prompts = [draw.integers(2, 300, size=n).tolist() for n in (9, 7, 12)]
    answers = [draw.integers(2, 300, size=n).tolist() for n in (8, 8, 3, 0)]
    found = []
    for prompt, kinds in zip(prompts, [(0, 0, 0, 0, 0, 1, 2, 3), (0, 1), (2,)], strict=True):
        for number, kind in enumerate(kinds):
            tokens, end = (*prompt, *answers[kind]), len(prompt) + len(answers[kind])
            last, steer = None if number == 4 else end - 1, steers[number % len(steers)]
            found.append(Reading(tokens, Span(0, len(prompt), 2), steer and Steer(steer.pushes, where), range(len(prompt), end), last))
    return found


def differences(model: Any, where: Where, inside: bool = False) -> tuple[float, Branching]:
    """The largest, and what was compared; `inside`: the model is steered between attention and MLP too."""
    stream = residual_stream(model, SITES if inside else ["resid_pre", "resid_post"])
    branching, wanted = Branching(stream), readings(where, STEERS if inside else [STEERS[number] for number in (0, 1, 2, 4)])
    ours, expected = branching.scores("m", wanted, where, UNITS, [3, 5], True), whole_scores(stream, "m", wanted, UNITS, [3, 5], True)
    assert [each is None for each in ours.chances] == [each is None for each in expected.chances] == [each.last is None for each in wanted]
    assert [len(each) for each in ours.own] == [len(each) for each in expected.own] == [len(each.counted) for each in wanted]
    pairs = [*((ours.along[place], expected.along[place]) for place in UNITS), *zip(ours.own, expected.own, strict=True)]
    asked, told = (torch.tensor([each for each in found.chances if each is not None]) for found in (ours, expected))
    pairs.append((asked, told))
    return max(float((one - other).abs().max()) for one, other in pairs if len(one)), branching


@pytest.mark.parametrize("name", FAMILIES)
def test_branches_of_every_family_are_whole_passes_or_there_are_none(name):
    model = random_model(name)
    if name in WHOLE:
        with pytest.raises(PersonascopeError, match=r"cannot be read in branches|reads in branches are off by"):
            differences(model, "answer")
        return
    inside = name in ("llama", "gemma3 (query norms, windows, two rope bases)")
    for where in get_args(Where) if inside else ("answer",):
        error, branching = differences(model, where, inside)
        assert error < 2e-4, where
        assert branching.error < 1e-5


def test_half_precision_is_held_to_the_probe_too():
    error, branching = differences(random_model("qwen2", torch.bfloat16), "answer")
    assert error < 0.2 and branching.error < 0.05
    with pytest.raises(PersonascopeError, match="reads in branches are off by"):
        differences(random_model("granite (multipliers)", torch.bfloat16), "answer")


def test_what_no_way_to_steer_changes_goes_through_the_model_once():
    model = random_model()
    stream = residual_stream(model, ["resid_pre", "resid_post"])
    branching = Branching(stream)
    prompt, answer = tuple(range(10, 30)), tuple(range(40, 52))
    ways = [Steer((Push(2, "resid_post", unit(n), alpha=1.0),), "answer") for n in range(20)]
    same = [Reading((*prompt, *answer), Span(0, 20), each, range(20, 32), 31) for each in ways]
    seen = dict.fromkeys(range(3), 0)

    def count(layer: int) -> Any:
        def hook(module: Any, args: Any, kwargs: Any) -> None:
            seen[layer] += (args[0] if args else kwargs["hidden_states"]).shape[:2].numel()

        return stream.blocks[layer].module.register_forward_pre_hook(hook, with_kwargs=True)

    branching.scores("m", same, "answer", {}, [3], False)  # what layers are called with is known from here on
    handles = [count(layer) for layer in seen]
    branching.scores("m", same, "answer", {}, [3], False)
    for handle in handles:
        handle.remove()
    # to find what enters the first layer it is stopped there, once for the prefix of 19 tokens and once for all 32
    assert seen == {0: 19 + 32 + 19 + 13, 1: 19 + 13, 2: 19 + 20 * 13}
