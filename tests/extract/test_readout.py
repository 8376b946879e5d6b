"""The readout beside eager attention and a float64 softmax, for families, paddings and windows; and what it refuses."""

from contextlib import contextmanager
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from personascope.extract.instruments import attention_calls as rows_module
from personascope.extract.instruments import attention_readout as readout_module
from personascope.extract.instruments.attention_calls import LayerCall, attention_implementation, attention_rows, reading
from personascope.extract.instruments.attention_readout import exact_rows, read_attention, self_check
from personascope.extract.texts.regions import REGIONS
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.hashing import stable_seed

pytestmark = pytest.mark.slow(20)

ROTARY = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 101,
    "max_position_embeddings": 64,
    "initializer_range": 0.4,  # sharp, differing heads
    "pad_token_id": 0,
}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen2": ("qwen2", {}),
    "qwen3": ("qwen3", {}),
    "llama-mqa": ("llama", {"num_key_value_heads": 1}),
    "llama-mha": ("llama", {"num_key_value_heads": 4}),
    "mistral-window": ("mistral", {"sliding_window": 5}),
    "mistral-wide-window": ("mistral", {"sliding_window": 60}),
    "gemma2": ("gemma2", {"sliding_window": 5, "attn_logit_softcapping": 2.0, "query_pre_attn_scalar": 3}),
    "gpt_neox": ("gpt_neox", {}),
    "olmo2": ("olmo2", {}),
    "phi3-window": ("phi3", {"sliding_window": 6}),
    "gpt2": ("gpt2", {"n_embd": 32, "n_layer": 3, "n_head": 4, "scale_attn_by_inverse_layer_idx": True}),
}
LENGTHS = (21, 9, 16)
WIDTH = max(LENGTHS)


def tiny(family, **changes):
    torch.manual_seed(stable_seed(family) % 2**31)
    config = AutoConfig.for_model(family, **(ROTARY | changes))
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


@pytest.fixture(params=FAMILIES)
def model(request):
    family, changes = FAMILIES[request.param]
    return tiny(family, **changes)


def batch(side):
    """input_ids, mask, positions [B, 5] filled up with -1, regions: three sequences of different length, padded on `side`."""
    generator = torch.Generator().manual_seed(7)
    first = torch.tensor([WIDTH - length if side == "left" else 0 for length in LENGTHS])
    columns = torch.arange(WIDTH)
    real = (columns >= first[:, None]) & (columns < first[:, None] + torch.tensor(LENGTHS)[:, None])
    input_ids = torch.randint(1, 101, (len(LENGTHS), WIDTH), generator=generator) * real
    positions = torch.full((len(LENGTHS), 5), -1)
    for row, length in enumerate(LENGTHS):
        count = 5 - row
        positions[row, :count] = torch.randperm(length, generator=generator)[:count] + first[row]
    positions[0, 0] = first[0]  # the first real token sees only itself
    regions = torch.randint(len(REGIONS), real.shape, generator=generator).where(real, -1)
    return input_ids, real, positions, regions


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


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("scaling", {"scaling": 0.25}),
        ("softcap", {"softcap": None}),
        ("key heads", {"key": True}),
    ],
)
def test_self_check_notices_a_wrong_row(monkeypatch, name, change):
    def wrong(call, positions):
        fields = dict(call.__dict__) | change
        if name == "key heads":
            fields["key"] = call.key.flip(1)
        return attention_rows(LayerCall(**fields), positions)

    monkeypatch.setattr(readout_module, "attention_rows", wrong)
    family, changes = FAMILIES["gemma2"]
    with pytest.raises(PersonascopeError, match=r"Gemma2ForCausalLM \(family gemma2\) in float32 is off by .* \(rows_vs_float64\)"):
        self_check(tiny(family, **changes))


@pytest.mark.parametrize(("dtype", "name"), [(torch.float32, "rows_vs_eager"), (torch.bfloat16, "mean_vs_eager")])
def test_self_check_notices_that_eager_attention_differs(monkeypatch, dtype, name):
    """A scaling that the interface and the float64 path share, but eager attention does not."""
    original = rows_module.LayerCall

    def rescaled(layer, query, key, mask, scaling, softcap, window):
        return original(layer, query, key, mask, scaling / 2, softcap, window)

    monkeypatch.setattr(rows_module, "LayerCall", rescaled)
    with pytest.raises(PersonascopeError, match=f"is off by .* \\({name}\\)"):
        self_check(tiny("qwen2", initializer_range=0.2).to(dtype))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_self_check_refuses_weights_that_are_no_numbers(value):
    model = tiny("qwen2")
    with torch.no_grad():
        model.get_decoder().layers[1].self_attn.q_proj.weight[0, 0] = value
    with pytest.raises(PersonascopeError, match="is off by inf"):
        self_check(model)


UNROUTED: dict[str, dict[str, Any]] = {
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4, "vocab_size": 101},
    "falcon": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 101},
    "gpt_neo": {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]], "vocab_size": 101},
    "gptj": {"n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4, "vocab_size": 101},
    "mpt": {"d_model": 32, "n_layers": 2, "n_heads": 4, "vocab_size": 101},
}


@pytest.mark.parametrize("family", UNROUTED)
def test_a_family_that_does_not_route_is_refused_by_name(family):
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **UNROUTED[family])).eval()
    with pytest.raises(PersonascopeError, match=rf"\(family {family}\) does not route its attention"):
        self_check(model)


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("gpt_oss", {"num_local_experts": 2, "num_experts_per_tok": 1}, "GptOssAttention cannot be read row by row: it passes s_aux"),
        ("diffllama", {}, r"DiffLlamaForCausalLM \(family diffllama\) sent layers \[0, 0, 1, 1, 2, 2\]"),
        ("minimax", {"num_local_experts": 2}, r"MiniMaxForCausalLM \(family minimax\) sent layers \[0, 2\]"),
    ],
)
def test_attention_that_is_more_than_a_softmax_per_layer_is_refused_by_name(family, changes, message):
    model = tiny(family, **changes)
    with pytest.raises(PersonascopeError, match=message):
        read_attention(model, *batch("right"))
    assert model.config._attn_implementation != rows_module.IMPLEMENTATION


def test_a_forward_pass_that_is_not_a_causal_one_over_the_whole_text_is_refused():
    model = tiny("qwen2")
    decoder, input_ids = model.get_decoder(), batch("right")[0]
    with torch.inference_mode():
        cache = decoder(input_ids, use_cache=True).past_key_values
    float_mask = torch.zeros(len(LENGTHS), 1, WIDTH, WIDTH)
    cases = [({"past_key_values": cache}, "it has 21 queries for 42 keys"), ({"attention_mask": float_mask}, r"its mask is torch\.float32 of shape \(3, 1, 21")]
    for options, message in cases:
        with reading(model, lambda call: None), pytest.raises(PersonascopeError, match=message), torch.inference_mode():
            decoder(input_ids, **options)
    decoder.layers[2].self_attn.is_causal = False
    with pytest.raises(PersonascopeError, match="Qwen2Attention cannot be read row by row: it is not causal"):
        read_attention(model, *batch("right"))


def test_layers_that_differ_from_the_configuration_are_refused():
    model = tiny("qwen2")
    model.config.num_attention_heads = 5
    with pytest.raises(PersonascopeError, match=r"attends with 4 heads in layer 0, expected 5 heads in layers 0\.\.2"):
        read_attention(model, *batch("right"))


def test_self_check_needs_eager_attention(monkeypatch):
    model = tiny("qwen2")
    monkeypatch.setattr(readout_module, "attention_implementation", lambda model, name: attention_implementation(model, "sdpa"))
    with pytest.raises(PersonascopeError, match="returns no eager attention for some layer"):
        self_check(model)


def test_a_model_in_training_mode_is_refused():
    with pytest.raises(PersonascopeError, match=r"Qwen2ForCausalLM \(family qwen2\) is in training mode"):
        read_attention(tiny("qwen2").train(), *batch("right"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positions": (1, 0, 9)}, "query position 9 of row 1 is not one of its real tokens"),
        ({"positions": (1, 0, WIDTH)}, f"query position {WIDTH} of row 1 is not one of its real tokens"),
        ({"positions": (0, 1, -2)}, "query position -2 of row 0"),
        ({"regions": (2, 3, len(REGIONS))}, r"token 3 of row 2 has region code 7, expected 0\.\.6"),
        ({"regions": (2, 3, -1)}, r"token 3 of row 2 has region code -1, expected 0\.\.6"),
        ({"real": (0, 4, False)}, "row 0 of the attention mask has 2 runs of real tokens, expected 1"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused(change, message):
    tensors = dict(zip(("input_ids", "real", "positions", "regions"), batch("right"), strict=True))
    for name, (row, column, value) in change.items():
        tensors[name][row, column] = value
    with pytest.raises(PersonascopeError, match=message):
        read_attention(tiny("qwen2"), *tensors.values())


def test_lengths_beyond_the_batch_and_foreign_shapes_are_refused():
    input_ids, real, positions, regions = batch("right")
    with pytest.raises(PersonascopeError, match=f"a row is {WIDTH + 1} tokens long"):
        read_attention(tiny("qwen2"), input_ids, torch.tensor([WIDTH + 1, 3, 3]), positions, regions)
    with pytest.raises(PersonascopeError, match="the shape of regions is"):
        read_attention(tiny("qwen2"), input_ids, real, positions, regions[:, 1:])
    with pytest.raises(PersonascopeError, match="the shape of positions is"):
        read_attention(tiny("qwen2"), input_ids, real, positions[1:], regions)
