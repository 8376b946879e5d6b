"""Autoencoder files: three formats give the same autoencoder, pickles never run, and what is wrong in a file is named in one sentence."""

import json
import os
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from personascope.ingest.sae.autoencoder import Matrix, Sae
from personascope.ingest.sae.files import format_of, load_sae, save_sae
from personascope.warehouse.errors import PersonascopeError

F, D, K, LAYER = 40, 12, 4, 3


@pytest.fixture
def raw():
    """The numbers of one autoencoder: encoder and decoder [F, D], biases, threshold."""
    generator = torch.Generator().manual_seed(1)
    return {
        "encoder": torch.randn(F, D, generator=generator),
        "decoder": torch.randn(F, D, generator=generator),
        "b_enc": torch.randn(F, generator=generator) / 10,
        "b_dec": torch.randn(D, generator=generator),
        "threshold": torch.tensor(0.7),
    }


def dictionary_learning(folder, raw, trainer=None, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        "encoder.weight": raw["encoder"],
        "encoder.bias": raw["b_enc"],
        "decoder.weight": raw["decoder"].T.contiguous(),
        "b_dec": raw["b_dec"],
        "threshold": raw["threshold"],
        "k": torch.tensor(K),
    } | changes
    torch.save({name: value for name, value in state.items() if value is not None}, folder / "ae.pt")
    config = {"dict_class": "BatchTopKSAE", "trainer_class": "BatchTopKTrainer", "activation_dim": D, "dict_size": F, "k": K, "layer": LAYER}
    config |= {"lm_name": "some/model", "submodule_name": f"resid_post_layer_{LAYER}"} | (trainer or {})
    (folder / "config.json").write_text(json.dumps({"trainer": config, "buffer": {"d_submodule": D, "ctx_len": 128}}))
    return folder


def sae_lens(folder, raw, config=None, architecture="jumprelu", **changes):
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {"W_enc": raw["encoder"].T.contiguous(), "W_dec": raw["decoder"], "b_enc": raw["b_enc"], "b_dec": raw["b_dec"]}
    if architecture == "jumprelu":
        tensors["threshold"] = raw["threshold"].expand(F).contiguous()
    save_file({name: value for name, value in (tensors | changes).items() if value is not None}, folder / "sae_weights.safetensors")
    told = {"architecture": architecture, "d_in": D, "d_sae": F, "dtype": "float32", "apply_b_dec_to_input": True, "normalize_activations": "none"}
    told |= {"metadata": {"hook_name": f"blocks.{LAYER}.hook_resid_post", "neuronpedia_id": "some-model/3-res"}} | (config or {})
    (folder / "cfg.json").write_text(json.dumps(told))
    return folder


def own(folder, raw):
    folder.mkdir(parents=True, exist_ok=True)
    matrices: dict[str, Any] = {"encoder": Matrix(raw["encoder"]), "decoder": Matrix(raw["decoder"])}
    sae = Sae("personascope", "topk", **matrices, b_enc=raw["b_enc"], b_dec=raw["b_dec"], k=K, threshold=raw["threshold"], layer=LAYER, site="resid_post")
    save_sae(folder, sae, l0=3.5, note="kept")
    return folder


@pytest.mark.parametrize("write", [dictionary_learning, sae_lens, own])
def test_every_format_gives_the_numbers_that_were_written(tmp_path, raw, write):
    sae = load_sae(write(tmp_path / "sae", raw), LAYER)
    assert (sae.format, sae.layer, sae.site, sae.n_features, sae.d_model) == (write.__name__.replace("own", "personascope"), LAYER, "resid_post", F, D)
    for name in ("encoder", "decoder"):
        assert torch.equal(getattr(sae, name).rows(0, F), raw[name])
        assert torch.equal(getattr(sae, name).rows(5, 9), raw[name][5:9])
        assert torch.equal(getattr(sae, name).pick(torch.tensor([7, 0, 39])), raw[name][[7, 0, 39]])
    assert torch.equal(sae.b_enc, raw["b_enc"]) and torch.equal(sae.b_dec, raw["b_dec"]) and sae.subtracts
    assert sae.threshold is not None and bool((sae.threshold == raw["threshold"]).all())
    assert sae.k == (None if write is sae_lens else K)
    unit = sae.decoder_rows([3, 1], unit=True)
    expected = raw["decoder"][[3, 1]].double().numpy()
    np.testing.assert_allclose(unit, expected / np.linalg.norm(expected, axis=1, keepdims=True), rtol=1e-6)
    np.testing.assert_array_equal(sae.decoder_rows([3, 1]), raw["decoder"][[3, 1]].numpy())


def test_half_precision_files_are_read_as_they_are(tmp_path, raw):
    half = {name: value.to(torch.bfloat16) for name, value in raw.items()}
    sae = load_sae(sae_lens(tmp_path / "sae", half))
    assert sae.encoder.stored.dtype == torch.bfloat16 and torch.equal(sae.encoder.rows(0, F), half["encoder"].float())


def test_the_figures_of_a_trained_one_come_back(tmp_path, raw):
    assert load_sae(own(tmp_path / "sae", raw)).figures == {"l0": 3.5}


def test_the_rule_that_decides_is_stated(tmp_path, raw):
    both = load_sae(dictionary_learning(tmp_path / "both", raw))
    assert [both.rule(each) for each in ("auto", "threshold", "topk")] == ["threshold", "threshold", "topk"]
    untold = load_sae(dictionary_learning(tmp_path / "never-estimated", raw, threshold=torch.tensor(-1.0)))
    assert untold.threshold is None and untold.rule("auto") == "topk"
    with pytest.raises(PersonascopeError, match="inference is 'threshold', and this batchtopk autoencoder has no threshold; expected topk or auto"):
        untold.rule("threshold")
    with pytest.raises(PersonascopeError, match="inference is 'topk', and this jumprelu autoencoder has no k"):
        load_sae(sae_lens(tmp_path / "jump", raw)).rule("topk")
    assert load_sae(sae_lens(tmp_path / "plain", raw, architecture="standard")).rule("auto") == "relu"
    old = {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": K}}
    assert load_sae(sae_lens(tmp_path / "old", raw, old, architecture="standard")).rule("auto") == "topk"
    assert load_sae(sae_lens(tmp_path / "between", raw, old, architecture="topk")).k == K
    assert [load_sae(own(tmp_path / "own", raw)).rule(each) for each in ("auto", "threshold")] == ["topk", "threshold"]


class Malicious:
    """Unpickled, it would make a folder."""

    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return os.mkdir, (self.target,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path, raw, zipped):
    folder, trace = dictionary_learning(tmp_path / "sae", raw), tmp_path / "it-ran"
    state = {"encoder.weight": raw["encoder"], "k": Malicious(trace)}
    torch.save(state, folder / "ae.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(PersonascopeError, match=r"ae\.pt is a pickle that holds more than tensors, so it is refused and nothing of it was run"):
        load_sae(folder)
    (folder / "ae.pt").write_bytes(pickle.dumps(Malicious(trace)))
    with pytest.raises(PersonascopeError, match=r"ae\.pt"):
        load_sae(folder)
    assert not trace.exists()
    pickle.loads((folder / "ae.pt").read_bytes())
    assert trace.exists()  # the file would have done harm


def test_a_file_of_the_old_kind_is_read(tmp_path, raw):
    folder = dictionary_learning(tmp_path / "sae", raw)
    torch.save(torch.load(folder / "ae.pt", weights_only=True), folder / "ae.pt", _use_new_zipfile_serialization=False)
    assert torch.equal(load_sae(folder).encoder.rows(0, F), raw["encoder"])


def broken(raw, name, value):
    changed = raw[name].clone()
    changed.view(-1)[-1] = value
    return raw | {name: changed}


@pytest.mark.parametrize(
    ("write", "options", "message"),
    [
        (
            dictionary_learning,
            {"encoder.weight": torch.zeros(F, D + 1)},
            r"ae\.pt: 'encoder\.weight' is torch\.float32 of shape \(40, 13\), expected .*\(40, 12\)",
        ),
        (dictionary_learning, {"decoder.weight": torch.zeros(F, D)}, r"'decoder\.weight' is torch\.float32 of shape \(40, 12\), expected .*\(12, 40\)"),
        (dictionary_learning, {"b_dec": None}, r"ae\.pt: 'b_dec' is missing; expected encoder\.weight, encoder\.bias"),
        (dictionary_learning, {"k": torch.tensor(9)}, r"k is 9, expected the 4 of config\.json"),
        (dictionary_learning, {"threshold": torch.zeros(3)}, r"the threshold has torch\.Size\(\[3\]\), expected one number or 40"),
        (
            dictionary_learning,
            {"trainer": {"dict_class": "GatedAutoEncoder"}},
            r"config\.json: dict_class is 'GatedAutoEncoder', expected BatchTopKSAE or AutoEnc",
        ),
        (dictionary_learning, {"trainer": {"dict_size": None}}, r"config\.json: dict_size is None, expected a positive whole number"),
        (dictionary_learning, {"trainer": {"layer": 5}}, r"config\.json says layer 5, expected that of layer 3"),
        (sae_lens, {"W_enc": torch.zeros(F, D)}, r"'W_enc' is torch\.float32 of shape \(40, 12\), expected .*\(12, 40\)"),
        (sae_lens, {"threshold": None}, r"'threshold' is missing, expected one number per feature of a jumprelu"),
        (sae_lens, {"architecture": "topk"}, r"cfg\.json: 'k' is missing"),
        (sae_lens, {"config": {"activation_fn_str": "tanh-relu"}}, r"cfg\.json: the activation function is 'tanh-relu', expected relu or topk"),
        (sae_lens, {"config": {"architecture": "gated"}}, r"architecture is 'gated', expected standard, topk, batchtopk or jumprelu"),
        (sae_lens, {"config": {"hook_name_out": "blocks.1.hook_mlp_out"}}, r"hook_name_out is 'blocks.1.hook_mlp_out', which is not understood here"),
        (sae_lens, {"config": {"hook_head_index": 3}}, r"hook_head_index is 3, which is not understood here"),
        (sae_lens, {"config": {"normalize_activations": "layer_norm"}}, r"normalize_activations is 'layer_norm', which is not understood here"),
        (sae_lens, {"config": {"rescale_acts_by_decoder_norm": True}}, r"rescale_acts_by_decoder_norm is True, which is not understood here"),
        (sae_lens, {"config": {"metadata": {"hook_name": "blocks.3.attn.hook_z"}}}, r"hook_name is 'blocks\.3\.attn\.hook_z'"),
        (sae_lens, {"config": {"d_sae": "many"}}, r"d_sae is 'many', expected a positive whole number"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, raw, write, options, message):
    folder = write(tmp_path / "sae", raw, **options)
    with pytest.raises(PersonascopeError, match=message):
        load_sae(folder, LAYER)


@pytest.mark.parametrize("write", [dictionary_learning, sae_lens, own])
@pytest.mark.parametrize(("name", "value"), [("encoder", float("nan")), ("decoder", float("inf")), ("b_dec", float("nan")), ("b_enc", float("inf"))])
def test_numbers_that_are_not_finite_are_refused(tmp_path, raw, write, name, value):
    with pytest.raises(PersonascopeError, match="holds numbers that are not finite"):
        load_sae(write(tmp_path / "sae", broken(raw, name, value)))


def test_damaged_and_foreign_folders_are_refused(tmp_path, raw):
    with pytest.raises(PersonascopeError, match=r"holds no sparse autoencoder: expected sae\.json and sae\.safetensors"):
        load_sae(tmp_path)
    assert format_of(tmp_path) is None
    folder = dictionary_learning(tmp_path / "cut", raw)
    (folder / "ae.pt").write_bytes((folder / "ae.pt").read_bytes()[:200])
    with pytest.raises(PersonascopeError, match=r"ae\.pt"):
        load_sae(folder)
    torch.save([1, 2], folder / "ae.pt")
    with pytest.raises(PersonascopeError, match="holds a list, expected a dictionary of tensors"):
        load_sae(folder)
    folder = sae_lens(tmp_path / "lens", raw)
    (folder / "sae_weights.safetensors").write_bytes(b"none")
    with pytest.raises(PersonascopeError, match="cannot be read as safetensors"):
        load_sae(folder)
    (folder / "cfg.json").write_text("{")
    with pytest.raises(PersonascopeError, match=r"cfg\.json cannot be read as JSON"):
        load_sae(folder)
