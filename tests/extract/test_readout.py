"""The readout beside eager attention and a float64 softmax, for families, paddings and windows."""

from contextlib import contextmanager

import pytest
import torch
from readout_models import FAMILIES, LENGTHS, WIDTH, batch, tiny

from personascope.extract.instruments import attention_calls as rows_module
from personascope.extract.instruments import attention_readout as readout_module
from personascope.extract.instruments.attention_calls import LayerCall, attention_implementation, attention_rows, reading
from personascope.extract.instruments.attention_readout import exact_rows, read_attention, self_check
from personascope.extract.texts.regions import REGIONS
from personascope.warehouse.errors import PersonascopeError

pytestmark = pytest.mark.slow(15)


@pytest.fixture(params=FAMILIES)
def model(request):
    family, changes = FAMILIES[request.param]
    return tiny(family, **changes)


def position_ids(real):
    return (real.cumsum(-1) - 1).clamp(min=0)


def figures_of(rows, positions, regions, real):
    """Fractions, bos and entropy of full rows [B, L, H, T, T], in their own dtype, at positions [B, P], by plain loops."""
    shape = (*positions.shape, rows.shape[1], rows.shape[2])
    fractions, bos, entropy = rows.new_full((*shape, len(REGIONS)), torch.nan), rows.new_full(shape, torch.nan), rows.new_full(shape, torch.nan)
    for b, p in (positions >= 0).nonzero().tolist():
        row = rows[b, :, :, positions[b, p]]
        for code in range(len(REGIONS)):
            fractions[b, p, ..., code] = row[..., (regions[b] == code) & real[b]].sum(-1)
        bos[b, p] = row[..., int(real[b].nonzero()[0])]
        entropy[b, p] = -torch.xlogy(row, row).sum(-1)
    return fractions, bos, entropy


def assert_figures(readout, expected, tolerance):
    for name, value in zip(("fractions", "bos", "entropy"), expected, strict=True):
        found = getattr(readout, name)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), value.double(), rtol=0, atol=tolerance, equal_nan=True)


def eager_rows(model, input_ids, real):
    with attention_implementation(model, "eager"), torch.inference_mode():
        output = model.get_decoder()(input_ids, attention_mask=real.long(), position_ids=position_ids(real), output_attentions=True, use_cache=False)
    return torch.stack(output.attentions, dim=1)


@pytest.mark.parametrize("side", ["right", "left"])
def test_figures_equal_those_of_eager_attention(model, side):
    input_ids, real, positions, regions = batch(side)
    readout = read_attention(model, input_ids, real.long(), positions, regions)
    expected = figures_of(eager_rows(model, input_ids, real), positions, regions, real)
    assert_figures(readout, expected, 1e-5)
    wanted = positions >= 0
    assert (readout.row_sum[wanted] - 1).abs().max() < 1e-6
    assert (readout.fractions.sum(-1)[wanted] - 1).abs().max() < 1e-6
    assert all(value[~wanted].isnan().all() for value in (readout.fractions, readout.bos, readout.entropy, readout.row_sum))
    assert (readout.bos[0, 0] == 1).all()


@pytest.mark.parametrize("side", ["right", "left"])
def test_figures_equal_a_float64_softmax(model, side):
    input_ids, real, positions, regions = batch(side)
    exact = {}

    def keep(call):
        exact[call.layer] = exact_rows(call, real)[0]

    with reading(model, keep), torch.inference_mode():
        model.get_decoder()(input_ids, attention_mask=real.long(), position_ids=position_ids(real), use_cache=False)
    rows = torch.stack([exact[layer] for layer in sorted(exact)], dim=1)
    readout = read_attention(model, input_ids, real.long(), positions, regions)
    assert_figures(readout, figures_of(rows, positions, regions, real), 1e-6)


def test_padding_changes_nothing(model):
    sides = []
    for side in ("right", "left"):
        input_ids, real, positions, regions = batch("right")
        if side == "left":
            moved = [torch.roll(tensor, WIDTH - length) for tensor, length in zip(input_ids, LENGTHS, strict=True)]
            input_ids, regions = torch.stack(moved), torch.stack([row.roll(WIDTH - n) for row, n in zip(regions, LENGTHS, strict=True)])
            positions = torch.where(positions < 0, -1, positions + (WIDTH - torch.tensor(LENGTHS))[:, None])
            real = real.flip(1)
        sides.append(read_attention(model, input_ids, real, positions, regions))
    alone = [
        read_attention(model, row[None, :length], torch.tensor([length]), where[None], codes[None, :length])
        for row, length, where, codes in zip(*(batch("right")[0], LENGTHS, *batch("right")[2:]), strict=True)
    ]
    for name in ("fractions", "bos", "entropy"):
        right, left = (getattr(side, name) for side in sides)
        torch.testing.assert_close(right, left, rtol=0, atol=1e-5, equal_nan=True)
        torch.testing.assert_close(right, torch.cat([getattr(one, name) for one in alone]), rtol=0, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("side", ["right", "left"])
def test_hidden_states_are_those_of_a_plain_forward_pass(model, side):
    """Of SDPA, bit for bit; of eager attention where logits are soft-capped, which SDPA leaves out."""
    input_ids, real, _, _ = batch(side)
    softcapped = model.config.model_type == "gemma2"
    states = []
    for context in (attention_implementation(model, "eager" if softcapped else "sdpa"), reading(model, lambda call: None)):
        with context, torch.inference_mode():
            output = model.get_decoder()(input_ids, attention_mask=real.long(), position_ids=position_ids(real), use_cache=False)
        states.append(output.last_hidden_state[real])
    if softcapped:
        torch.testing.assert_close(states[1], states[0], rtol=1e-5, atol=1e-5)
    else:
        assert torch.equal(*states)


def test_softcapped_output_does_not_depend_on_the_block(monkeypatch):
    model = tiny(*FAMILIES["gemma2"][:1], **FAMILIES["gemma2"][1])
    input_ids, real, _, _ = batch("left")
    states = []
    for scores in (1 << 22, 3 * 4 * WIDTH * 5, 1):
        monkeypatch.setattr(rows_module, "_BLOCK_SCORES", scores)
        with reading(model, lambda call: None), torch.inference_mode():
            output = model.get_decoder()(input_ids, attention_mask=real.long(), position_ids=position_ids(real), use_cache=False)
        states.append(output.last_hidden_state[real])
    for state in states[1:]:
        torch.testing.assert_close(state, states[0], rtol=1e-5, atol=1e-5)


@contextmanager
def recorded_masks():
    """The masks that attention layers were called with."""
    masks = []
    original = rows_module.attention_rows

    def record(call, positions):
        masks.append(call.mask)
        return original(call, positions)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readout_module, "attention_rows", record)
        yield masks


@pytest.mark.parametrize(
    ("name", "side", "masked"),
    [("qwen2", "right", False), ("qwen2", "left", True), ("mistral-window", "right", True), ("mistral-wide-window", "right", False)],
)
def test_a_mask_is_built_only_where_causality_does_not_do(name, side, masked):
    family, changes = FAMILIES[name]
    model = tiny(family, **changes)
    with recorded_masks() as masks:
        read_attention(model, *batch(side))
    assert [mask is not None for mask in masks] == [masked] * 3


def test_lengths_mean_right_padding():
    model = tiny("qwen2")
    input_ids, real, positions, regions = batch("right")
    by_mask = read_attention(model, input_ids, real, positions, regions)
    by_length = read_attention(model, input_ids, torch.tensor(LENGTHS), positions, regions)
    torch.testing.assert_close(by_length.fractions, by_mask.fractions, rtol=0, atol=0, equal_nan=True)


def test_the_lm_head_is_not_run():
    model = tiny("qwen2")
    model.lm_head.register_forward_hook(lambda *_: pytest.fail("the LM head ran"))
    read_attention(model, *batch("right"))


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_the_implementation_is_put_back(implementation):
    model = tiny("llama", attention_dropout=0.1)
    model.set_attn_implementation(implementation)
    read_attention(model, *batch("right"))
    assert model.config._attn_implementation == implementation
    model.get_decoder().layers[1].self_attn.train()
    with pytest.raises(PersonascopeError, match="LlamaAttention cannot be read row by row: it applies dropout"):
        read_attention(model, *batch("right"))
    assert model.config._attn_implementation == implementation


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rows_of_a_half_precision_model_are_exact(dtype):
    model = tiny("qwen2").to(dtype)
    readout = read_attention(model, *batch("right"))
    wanted = batch("right")[2] >= 0
    assert (readout.row_sum[wanted] - 1).abs().max() < 1e-6
    errors = self_check(model)
    assert errors["figures_vs_float64"] < 1e-6
    assert errors["rows_vs_eager"] > 1e-4  # eager itself rounds to half precision


def test_rows_of_sharp_heads_are_exact_whatever_torch_is_set_to():
    """Logits of several hundred, with float32 products set to bfloat16: every row stays within float32 storage of the exact one."""
    torch.manual_seed(0)
    call = LayerCall(0, 30 * torch.randn(1, 4, 40, 8), 30 * torch.randn(1, 2, 40, 8), None, 0.3, None, None)
    try:
        torch.set_float32_matmul_precision("medium")
        rows = attention_rows(call, torch.arange(40)[None])
    finally:
        torch.set_float32_matmul_precision("highest")
    exact, magnitude = exact_rows(call, torch.ones(1, 40, dtype=torch.bool))
    assert magnitude > 500
    assert (rows.float() - exact).abs().max() < 1e-7


def test_rows_are_never_a_square_of_the_length():
    """For 2 positions of 4096 nothing larger than the keys is made, let alone [heads, 4096, 4096]."""
    length = 4096
    call = LayerCall(0, torch.randn(1, 4, length, 8), torch.randn(1, 2, length, 8), None, 0.3, None, None)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        attention_rows(call, torch.tensor([[5, 4000]]))
    assert 0 < max(event.self_cpu_memory_usage for event in profile.events()) <= 2 * 8 * length * 8  # the wide keys


def test_self_check_passes_and_reports_small_errors(model):
    errors = self_check(model)
    assert errors["rows_vs_float64"] < 1e-12
    assert errors["figures_vs_float64"] < 1e-6
    assert errors["row_sum"] < 1e-6
    assert errors["rows_vs_eager"] < 1e-4
    assert model.config._attn_implementation == "sdpa"
