"""Steering a forward pass: beside hand-written hooks in float64, what must change nothing, caches and padding in every family, adapters merged or not."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from families import FAMILIES, VOCABULARY, random_model
from personascope.extract.instruments.residual import residual_stream
from personascope.extract.instruments.steering import Push, Span, Steer, steering
from personascope.warehouse.errors import PersonascopeError

LENGTHS, NEW, LAYER = (9, 6, 9, 4), 5, 1


def unit(seed: int = 3) -> np.ndarray:
    vector = np.random.default_rng(seed).normal(size=32)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def prompts() -> list[list[int]]:
    generator = np.random.default_rng(0)
    return [generator.integers(2, VOCABULARY, length).tolist() for length in LENGTHS]


def of_every_kind(layer: int = LAYER) -> list[Steer | None]:
    """One row of each kind, at other positions."""
    return [
        Steer((Push(layer, "resid_post", unit(), alpha=3.0), Push(0, "resid_pre", unit(4), alpha=-1.0)), "all"),
        None,
        Steer((Push(layer, "resid_post", unit(), share=1.0),), "answer"),
        Steer((Push(layer, "resid_post", unit(5), share=1.0, low=-0.1, high=0.2),), "prompt"),
    ]


def whole(model: Any, sequences: Sequence[Sequence[int]], steers: Sequence[Steer | None], stops: Sequence[int]) -> torch.Tensor:
    """Logits [B, T, V] of one pass over sequences filled up on the right."""
    ids = torch.zeros((len(sequences), max(map(len, sequences))), dtype=torch.long)
    for row, each in enumerate(sequences):
        ids[row, : len(each)] = torch.tensor(each)
    blocks = residual_stream(model, ["resid_pre", "resid_post"]).blocks
    with torch.inference_mode(), steering(blocks, steers, [Span(0, stop, 1) for stop in stops]):
        return model(ids, use_cache=False).logits


def generated(model: Any, steers: Sequence[Steer | None] | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens [B, NEW] that the model says behind left-padded prompts, one cached step at a time, and the logits [B, NEW, V] they come from."""
    width = max(LENGTHS)
    ids, mask = torch.zeros((len(LENGTHS), width), dtype=torch.long), torch.zeros((len(LENGTHS), width), dtype=torch.long)
    for row, each in enumerate(prompts()):
        ids[row, width - len(each) :], mask[row, width - len(each) :] = torch.tensor(each), 1
    blocks = residual_stream(model, ["resid_pre", "resid_post"]).blocks
    spans = [Span(width - length, width, width - length + 1) for length in LENGTHS]
    with torch.inference_mode(), steering(blocks, steers or [None] * len(LENGTHS), spans):
        said = model.generate(
            ids, attention_mask=mask, max_new_tokens=NEW, min_new_tokens=NEW, do_sample=False, output_logits=True, return_dict_in_generate=True
        )
    return said.sequences[:, width:], torch.stack(said.logits, dim=1)


@pytest.mark.parametrize("name", FAMILIES)
def test_cached_steps_behind_left_padding_are_one_pass_over_the_whole(name):
    model = random_model(name)
    steers = of_every_kind()
    tokens, logits = generated(model, steers)
    sequences = [[*prompt, *said] for prompt, said in zip(prompts(), tokens.tolist(), strict=True)]
    expected = whole(model, sequences, steers, list(LENGTHS))
    plain = whole(model, sequences, [None] * 4, list(LENGTHS))
    for row, length in enumerate(LENGTHS):
        at = slice(length - 1, length - 1 + NEW)
        assert torch.allclose(logits[row], expected[row, at], atol=2e-4), name
        assert (steers[row] is None) == torch.equal(expected[row, at], plain[row, at])


def test_what_adds_nothing_is_the_plain_run_to_the_last_bit():
    model = random_model()
    plain, logits = generated(model, None)
    nothing = Steer((Push(LAYER, "resid_post", unit(), alpha=0.0), Push(2, "resid_pre", unit(), share=0.0, high=3.0)))
    wide = Steer((Push(LAYER, "resid_post", unit(), share=1.0, low=-1e6, high=1e6),))
    for steers in ([nothing] * 4, [wide] * 4, [Steer((Push(LAYER, "resid_post", unit(), alpha=9.0),)), nothing, wide, None]):
        tokens, found = generated(model, steers)
        kept = slice(1 if len(set(map(id, steers))) > 1 else 0, None)
        assert torch.equal(tokens[kept], plain[kept]) and torch.equal(found[kept], logits[kept])


@pytest.mark.parametrize(("push", "where"), [
    (Push(LAYER, "resid_post", unit(), alpha=2.5), "all"),
    (Push(LAYER, "resid_pre", unit(), alpha=2.5), "last_system"),
    (Push(LAYER, "attn_out", unit(), alpha=-2.5), "answer"),
    (Push(LAYER, "mlp_out", unit(), share=0.5), "prompt"),
    (Push(LAYER, "resid_post", unit(), share=1.0), "answer"),
    (Push(LAYER, "resid_post", unit(), share=1.0, low=-0.2, high=0.1), "all"),
])  # fmt: skip
def test_a_push_is_what_a_hand_written_hook_does_in_float64(push, where):
    model = random_model()
    stream = residual_stream(model, [push.site])  # whose own check is one of float32
    model.double()
    block = model.model.layers[LAYER]
    sequence, stop = prompts()[0], 6
    at = {"all": range(9), "prompt": range(5), "answer": range(5, 9), "last_system": range(1, 2)}[where]
    u = torch.tensor(push.unit, dtype=torch.float64)
    u /= u.norm()

    def changed(hidden: torch.Tensor) -> torch.Tensor:
        hidden = hidden.clone()
        for token in at:
            h = hidden[0, token]
            p = float(h @ u)
            hidden[0, token] = h + push.alpha * u + push.share * (min(max(p, push.low), push.high) - p) * u
        return hidden

    if push.site == "resid_pre":
        handle = block.register_forward_pre_hook(lambda _, args: (changed(args[0]), *args[1:]))
    else:
        module = {"attn_out": block.self_attn, "mlp_out": block.mlp, "resid_post": block}[push.site]
        handle = module.register_forward_hook(lambda _, __, out: (changed(out[0]), *out[1:]) if isinstance(out, tuple) else changed(out))
    with torch.inference_mode():
        expected = model(torch.tensor([sequence])).logits
    handle.remove()
    with torch.inference_mode(), steering(stream.blocks, [Steer((push,), where)], [Span(0, stop, 1)]):
        found = model(torch.tensor([sequence])).logits
        again = model(torch.tensor([sequence])).logits
    assert torch.allclose(found, expected, atol=1e-12) and torch.equal(again, found)
    assert not torch.allclose(found, model(torch.tensor([sequence])).logits, atol=1e-6)


def test_projecting_out_twice_is_projecting_out_once():
    model = random_model(dtype=torch.float64)
    once = Push(LAYER, "resid_post", unit(), share=1.0)
    first, second = (whole(model, prompts()[:1], [Steer(pushes)], [9]) for pushes in ((once,), (once, once)))
    assert torch.allclose(first, second, atol=1e-13)


def test_an_adapter_gives_the_same_merged_and_unmerged():
    wrapped = get_peft_model(random_model(), LoraConfig(r=2, target_modules=["q_proj", "down_proj"], init_lora_weights=False))
    wrapped.eval()
    apart = whole(wrapped, prompts(), of_every_kind(), list(LENGTHS))
    plain = whole(wrapped, prompts(), [None] * 4, list(LENGTHS))
    merged: Any = wrapped.merge_and_unload()
    together = whole(merged, prompts(), of_every_kind(), list(LENGTHS))
    for row, length in enumerate(LENGTHS):
        assert torch.allclose(apart[row, :length], together[row, :length], atol=1e-4)
    assert not torch.allclose(apart[0], plain[0], atol=1e-2)


def test_half_precision_is_summed_in_float32():
    model = random_model(dtype=torch.bfloat16)
    stream = residual_stream(model, ["resid_post"])
    kept: list[torch.Tensor] = []
    handle = stream.blocks[LAYER].module.register_forward_hook(lambda _, __, out: kept.append((out[0] if isinstance(out, tuple) else out).clone()))
    ids = torch.tensor(prompts()[:1])
    with torch.inference_mode(), steering(stream.blocks, [Steer((Push(LAYER, "resid_post", unit(), share=1.0),))], [Span(0, 9)]):
        handle_after = stream.blocks[LAYER].module.register_forward_hook(lambda _, __, out: kept.append((out[0] if isinstance(out, tuple) else out).clone()))
        model(ids)
    handle.remove()
    handle_after.remove()
    u = torch.tensor(unit())
    before = kept[0].float()
    assert torch.equal(kept[1], (before - (before @ u)[..., None] * u).bfloat16())


def test_what_cannot_be_steered_is_refused():
    with pytest.raises(PersonascopeError, match="a prompt has no system block; expected a system message"):
        Span(0, 4).columns("last_system")
    with pytest.raises(
        PersonascopeError, match=r"dose 3 of villain: in layer 1 it adds a vector of length 5e\+05, with which numbers reach .* float16 ends at"
    ):
        Push(1, "resid_post", unit(), alpha=5e5).check(torch.float16, 10.0, "dose 3 of villain")
    Push(1, "resid_post", unit(), alpha=5e5).check(torch.bfloat16, 10.0, "dose 3 of villain")
