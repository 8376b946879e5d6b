"""The residual stream of tiny random families: what is found, what is refused, and that positions, padding and early stopping give the plain model's states."""

from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from personascope.extract.instruments.attention_readout import run_decoder
from personascope.extract.instruments.residual import SITES, capturing, residual_stream
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.hashing import stable_seed

pytestmark = pytest.mark.slow(15)

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "vocab_size": 101,
    "max_position_embeddings": 64,
    "initializer_range": 0.4,
    "pad_token_id": 0,
}
GROUPED = {"num_key_value_heads": 2}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", GROUPED),
    "qwen2": ("qwen2", GROUPED),
    "qwen3": ("qwen3", GROUPED | {"head_dim": 8}),
    "mistral": ("mistral", GROUPED | {"sliding_window": 5, "head_dim": 8}),
    "gemma2": ("gemma2", GROUPED | {"sliding_window": 5, "head_dim": 8}),
    "olmo2": ("olmo2", GROUPED),
    "phi": ("phi", {}),
    "phi3": ("phi3", GROUPED),
    "gpt_neox": ("gpt_neox", {}),
    "gpt_neox-sequential": ("gpt_neox", {"use_parallel_residual": False}),
    "gpt2": ("gpt2", {"n_embd": 32, "n_layer": 3, "n_head": 4}),
    "mixtral": ("mixtral", GROUPED | {"num_local_experts": 2}),
}
POST_NORM = {"gemma2": "RMSNorm", "olmo2": "RMSNorm"}
LENGTHS = (21, 9, 16)
WIDTH = max(LENGTHS)


def tiny(family, **changes):
    torch.manual_seed(stable_seed(family) % 2**31)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **(SIZES | changes)), dtype=torch.float32).eval()
    for parameter in model.parameters():
        if parameter.ndim == 1:  # norms and biases that do something
            nn.init.normal_(parameter, 0.5, 0.3)
    return model


@pytest.fixture(scope="module", params=FAMILIES)
def model(request):
    family, changes = FAMILIES[request.param]
    return tiny(family, **changes)


def batch(side):
    """input_ids, mask [B, T] and the last two real positions [B, 3] filled up with -1, padded on `side`."""
    generator = torch.Generator().manual_seed(7)
    ids = torch.zeros((len(LENGTHS), WIDTH), dtype=torch.long)
    real = torch.zeros((len(LENGTHS), WIDTH), dtype=torch.bool)
    positions = torch.full((len(LENGTHS), 3), -1)
    for row, length in enumerate(LENGTHS):
        first = WIDTH - length if side == "left" else 0
        ids[row, first : first + length] = torch.randint(1, 101, (length,), generator=generator)
        real[row, first : first + length] = True
        positions[row, : 3 - row] = torch.arange(first + length - 3 + row, first + length)
    return ids, real, positions


def plain_states(model, ids, real):
    """The hidden states [L + 1, T, d] of each sequence alone, by transformers itself."""
    with torch.inference_mode():
        return [torch.cat(model(row[kept][None], output_hidden_states=True).hidden_states).float() for row, kept in zip(ids, real, strict=True)]


def hooks_of(model):
    """The hooks on every module; transformers leaves its own after hidden states were asked for once."""
    return [hook for module in model.modules() for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values())]


def capture_of(model, side, layers, sites, averaged=None):
    stream = residual_stream(model, sites)
    ids, real, positions = batch(side)
    with torch.inference_mode(), capturing(stream.blocks, layers, sites, positions, averaged) as capture:
        run_decoder(model, ids, real)
    return capture


def test_every_family_is_found_and_checked(model):
    stream = residual_stream(model, SITES)
    assert [block.layer for block in stream.blocks] == [0, 1, 2]
    assert stream.errors["next"] == 0 and 0 <= stream.errors["hidden_states"] < 1e-6 and 0 <= stream.errors["sum"] < 5e-7
    kind = POST_NORM.get(model.config.model_type)
    for module in (module for block in stream.blocks for module in block.adders.values()):
        assert ("Norm" in type(module).__name__) == (kind is not None)
    assert "sum" not in residual_stream(model, ["resid_pre", "resid_post"]).errors


@pytest.mark.parametrize("side", ["right", "left"])
def test_vectors_are_those_of_the_plain_model(model, side):
    capture = capture_of(model, side, range(3), SITES)
    ids, real, positions = batch(side)
    states = plain_states(model, ids, real)
    for row, each in enumerate(states):
        first = int(real[row].int().argmax())
        for slot in range(3 - row):
            at = int(positions[row, slot]) - first
            for layer in range(3):
                vectors = {site: capture.at[layer, site][row, slot] for site in SITES}
                size = each[layer, at].norm()
                assert (vectors["resid_pre"] - each[layer, at]).norm() < 1e-5 * size
                if layer < 2:  # the last hidden state of transformers is the one behind the final norm
                    assert (vectors["resid_post"] - each[layer + 1, at]).norm() < 1e-5 * size
                added = vectors["resid_pre"] + vectors["attn_out"] + vectors["mlp_out"]
                assert (added - vectors["resid_post"]).norm() < 1e-5 * vectors["resid_post"].norm()


def test_a_mean_is_over_the_chosen_tokens_only():
    model = tiny("llama", **GROUPED)
    ids, real, _ = batch("right")
    averaged = real.clone()
    averaged[:, :4] = False
    averaged[1] = False
    capture = capture_of(model, "right", [1], ["resid_post"], averaged)
    states = plain_states(model, ids, real)
    for row in (0, 2):
        torch.testing.assert_close(capture.mean[1, "resid_post"][row], states[row][2, 4:].mean(0), rtol=1e-5, atol=1e-5)
    assert capture.mean[1, "resid_post"].shape == (3, 32)


@pytest.mark.parametrize(("sites", "reached"), [(["resid_pre"], []), (["attn_out"], ["attention", "mlp"]), (["resid_post"], ["attention", "mlp"])])
def test_the_forward_pass_stops_after_the_last_wanted_layer_and_leaves_no_hook(sites, reached):
    model = tiny("llama", **GROUPED)
    stream = residual_stream(model, sites)
    before = hooks_of(model)
    layers, ran = model.model.layers, []
    watched = {"attention": layers[1].self_attn, "mlp": layers[1].mlp, "next": layers[2], "norm": model.model.norm}
    handles = [module.register_forward_hook(lambda *_, name=name: ran.append(name)) for name, module in watched.items()]
    ids, real, positions = batch("right")
    with torch.inference_mode(), capturing(stream.blocks, [0, 1], sites, positions) as capture:
        run_decoder(model, ids, real)
    assert ran == reached
    assert sorted(capture.at) == [(0, sites[0]), (1, sites[0])]
    for handle in handles:
        handle.remove()
    assert hooks_of(model) == before
    with torch.inference_mode():
        assert model(ids).logits.shape == (3, WIDTH, 101)


def test_errors_of_the_forward_pass_are_not_swallowed():
    model = tiny("llama", **GROUPED)
    stream = residual_stream(model, ["resid_post"])
    before = hooks_of(model)
    with pytest.raises(ValueError, match="inside"), capturing(stream.blocks, [0], ["resid_post"], batch("right")[2]):
        raise ValueError("inside")
    assert hooks_of(model) == before


def test_nothing_as_long_as_the_sequence_is_kept():
    capture = capture_of(tiny("llama", **GROUPED), "right", range(3), SITES)
    assert {tensor.shape for tensor in capture.at.values()} == {(3, 3, 32)}
    assert all(tensor.untyped_storage().nbytes() == 3 * 3 * 32 * 4 for tensor in capture.at.values())


def test_half_precision_is_held_to_its_own_rounding():
    for dtype in (torch.bfloat16, torch.float16):
        errors = residual_stream(tiny("llama", **GROUPED).to(dtype), SITES).errors
        assert 0 < errors["sum"] <= 4 * torch.finfo(dtype).eps and errors["hidden_states"] <= torch.finfo(dtype).eps


REFUSED: dict[str, tuple[tuple[str, dict[str, Any]], str]] = {
    "granite": (("granite", GROUPED | {"residual_multiplier": 0.2}), r"residual stream of GraniteForCausalLM \(family granite\) is off by .* \(sum\)"),
    "bloom": (("bloom", {"n_layer": 3, "n_head": 4}), r"residual stream of BloomForCausalLM \(family bloom\) is off by .* \(sum\)"),
    "opt": (("opt", {"ffn_dim": 48, "word_embed_proj_dim": 32}), r"OPTForCausalLM \(family opt\) has 0 modules for mlp_out in layer 0 \(OPTDecoderLayer\)"),
}


@pytest.mark.parametrize("family", REFUSED)
def test_a_branch_that_is_not_added_as_it_is_is_refused_by_name_and_the_stream_itself_can_be_read(family):
    (name, changes), message = REFUSED[family]
    model = tiny(name, **changes)
    with pytest.raises(PersonascopeError, match=message):
        residual_stream(model, ["attn_out"])
    assert residual_stream(model, ["resid_post"]).errors["hidden_states"] < 1e-6


def test_what_cannot_be_read_is_refused_by_name():
    model = tiny("llama", **GROUPED)
    with pytest.raises(PersonascopeError, match=r"LlamaForCausalLM \(family llama\) is in training mode"):
        residual_stream(model.train(), ["resid_post"])
    model.eval().model.layers.append(nn.Identity())
    with pytest.raises(PersonascopeError, match=r"LlamaForCausalLM \(family llama\) has 0 lists of 3 decoder layers, expected 1"):
        residual_stream(model, ["resid_post"])


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_no_numbers_are_refused(value):
    model = tiny("llama", **GROUPED)
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[0, 0] = value
    with pytest.raises(PersonascopeError, match="is off by inf"):
        residual_stream(model, ["resid_post"])


def test_a_stream_that_is_changed_between_two_layers_is_refused():
    model = tiny("llama", **GROUPED)
    model.model.layers[1].register_forward_pre_hook(lambda module, args, kwargs: ((args[0] * 2, *args[1:]), kwargs), with_kwargs=True)
    with pytest.raises(PersonascopeError, match=r"off by .* \((next|hidden_states)\)"):
        residual_stream(model, ["resid_post"])
