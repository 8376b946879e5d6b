"""What the readout refuses: models that its self-check finds off, attention that it cannot read, batches that do not fit."""

from typing import Any

import pytest
import torch
from readout_models import FAMILIES, LENGTHS, WIDTH, batch, tiny
from transformers import AutoConfig, AutoModelForCausalLM

from personascope.extract.instruments import attention_calls as rows_module
from personascope.extract.instruments import attention_readout as readout_module
from personascope.extract.instruments.attention_calls import LayerCall, attention_implementation, attention_rows, reading
from personascope.extract.instruments.attention_readout import read_attention, self_check
from personascope.extract.texts.regions import REGIONS
from personascope.warehouse.errors import PersonascopeError

pytestmark = pytest.mark.slow(10)


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
