"""Reads a sparse autoencoder from the folder of one layer: BatchTopK files of dictionary_learning, SAELens folders, and our own; pickles never run."""

import json
import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from personascope.ingest.sae.autoencoder import Architecture, Format, Matrix, Sae
from personascope.ingest.weights.json_file import read_object
from personascope.warehouse.errors import PersonascopeError, one_line
from personascope.warehouse.pointers import refuse_pointers

FILES: dict[Format, tuple[str, str]] = {
    "personascope": ("sae.json", "sae.safetensors"),
    "sae_lens": ("cfg.json", "sae_weights.safetensors"),
    "dictionary_learning": ("config.json", "ae.pt"),
}
"""Configuration and weights of each format, by which a folder is recognised."""

_CLASSES: dict[str, Architecture] = {"BatchTopKSAE": "batchtopk", "AutoEncoderTopK": "topk"}
_HOOK = re.compile(r"blocks\.(\d+)\.hook_(resid_pre|resid_post|attn_out|mlp_out)")
_SUBMODULE = re.compile(r"(resid_pre|resid_post|attn_out|mlp_out)_layer_(\d+)")
_FIGURES = ("l0", "explained_variance", "dead_share", "n_tokens")


def format_of(folder: Path) -> Format | None:
    """The format whose two files a folder holds; None where it holds no autoencoder."""
    return next((name for name, files in FILES.items() if all((folder / file).is_file() for file in files)), None)


def load_sae(folder: Path, layer: int | None = None) -> Sae:
    """The autoencoder in `folder`, its weights memory-mapped where the format allows, every number checked to be finite.

    Raises PersonascopeError, in one sentence, for a folder of no known format, a configuration that asks for what is not done here, a pickle that holds more
    than tensors (nothing of it is run), missing keys, wrong shapes, numbers that are not finite, and another layer than `layer`.
    """
    found = format_of(folder)
    if found is None:
        known = "; ".join(" and ".join(files) for files in FILES.values())
        raise PersonascopeError(f"{folder} holds no sparse autoencoder: expected {known}.")
    config_file, weights_file = (folder / name for name in FILES[found])
    refuse_pointers([config_file, weights_file])
    read = {"dictionary_learning": _dictionary_learning, "sae_lens": _sae_lens, "personascope": _own}[found]
    sae = read(config_file, read_object(config_file), weights_file)
    for name, values in (("encoder", sae.encoder), ("decoder", sae.decoder)):
        for start, stop in values.blocks():
            _finite(weights_file, f"the {name} of features {start} to {stop - 1}", values.rows(start, stop))
    for name, vector in (("the encoder's bias", sae.b_enc), ("the decoder's bias", sae.b_dec), ("the threshold", sae.threshold)):
        if vector is not None:
            _finite(weights_file, name, vector)
    if layer is not None and sae.layer is not None and sae.layer != layer:
        raise PersonascopeError(f"{config_file} says layer {sae.layer}, expected that of layer {layer}.")
    return sae


def save_sae(folder: Path, sae: Sae, **facts: Any) -> None:
    """Writes `sae` in our own format: float32 matrices [n_features, d_model] in safetensors, the rest in JSON; `facts` are recorded beside it."""
    config, weights = FILES["personascope"]
    tensors = {"encoder": sae.encoder.rows(0, sae.n_features), "decoder": sae.decoder.rows(0, sae.n_features), "b_enc": sae.b_enc, "b_dec": sae.b_dec}
    if sae.threshold is not None:
        tensors["threshold"] = sae.threshold
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, folder / weights)
    told = {name: getattr(sae, name) for name in ("architecture", "k", "layer", "site", "n_features", "d_model", "subtracts", "neuronpedia")}
    (folder / config).write_text(json.dumps(told | sae.figures | facts, indent=1) + "\n", encoding="utf-8")


def _own(config_file: Path, config: dict[str, Any], weights_file: Path) -> Sae:
    tensors = _safetensors(weights_file)
    shape = (_number(config_file, config, "n_features"), _number(config_file, config, "d_model"))
    if config.get("architecture") not in ("standard", "topk", "batchtopk", "jumprelu"):
        raise PersonascopeError(f"{config_file}: architecture is {config.get('architecture')!r}, expected standard, topk, batchtopk or jumprelu.")
    _check(weights_file, tensors, {"encoder": shape, "decoder": shape, "b_enc": shape[:1], "b_dec": shape[1:]})
    return Sae(
        format="personascope",
        architecture=config["architecture"],
        encoder=Matrix(tensors["encoder"]),
        decoder=Matrix(tensors["decoder"]),
        b_enc=tensors["b_enc"].float(),
        b_dec=tensors["b_dec"].float(),
        subtracts=bool(config.get("subtracts", True)),
        k=config.get("k"),
        threshold=_threshold(weights_file, tensors.get("threshold"), shape[0]),
        layer=config.get("layer"),
        site=config.get("site"),
        neuronpedia=config.get("neuronpedia"),
        figures={name: config[name] for name in _FIGURES if config.get(name) is not None},
    )


def _dictionary_learning(config_file: Path, config: dict[str, Any], weights_file: Path) -> Sae:
    """BatchTopKSAE and AutoEncoderTopK of saprmarks/dictionary_learning: encoder.weight [F, d], decoder.weight [d, F], b_dec subtracted from the input."""
    trainer = config.get("trainer")
    if not isinstance(trainer, dict):
        raise PersonascopeError(f"{config_file}: 'trainer' is missing, expected the configuration of dictionary_learning.")
    if trainer.get("dict_class") not in _CLASSES:
        raise PersonascopeError(f"{config_file}: dict_class is {trainer.get('dict_class')!r}, expected {' or '.join(_CLASSES)}.")
    n_features, d_model = _number(config_file, trainer, "dict_size"), _number(config_file, trainer, "activation_dim")
    tensors = _pickled_tensors(weights_file)
    expected = {"encoder.weight": (n_features, d_model), "encoder.bias": (n_features,), "decoder.weight": (d_model, n_features), "b_dec": (d_model,)}
    _check(weights_file, tensors, expected)
    k = int(tensors["k"]) if "k" in tensors else _number(config_file, trainer, "k")
    if k != trainer.get("k", k) or not 0 < k <= n_features:
        raise PersonascopeError(f"{weights_file}: k is {k}, expected the {trainer.get('k')} of {config_file.name}, between 1 and {n_features}.")
    threshold = _threshold(weights_file, tensors.get("threshold"), n_features)
    place = _SUBMODULE.search(f"{trainer.get('submodule_name')}") or _SUBMODULE.search(str(config_file.parent))
    return Sae(
        format="dictionary_learning",
        architecture=_CLASSES[trainer["dict_class"]],
        encoder=Matrix(tensors["encoder.weight"]),
        decoder=Matrix(tensors["decoder.weight"], transposed=True),
        b_enc=tensors["encoder.bias"].float(),
        b_dec=tensors["b_dec"].float(),
        k=k,
        threshold=None if threshold is None or bool((threshold < 0).any()) else threshold,  # -1 stands for one that was never estimated
        layer=trainer["layer"] if isinstance(trainer.get("layer"), int) else int(place[2]) if place else None,
        site=place[1] if place else None,
    )


def _sae_lens(config_file: Path, config: dict[str, Any], weights_file: Path) -> Sae:
    """SAELens: W_enc [d, F], W_dec [F, d]; newer versions keep where it was trained under `metadata`."""
    metadata = config.get("metadata")
    known = {**(metadata if isinstance(metadata, dict) else {}), **config}
    architecture: Any = known.get("architecture") or "standard"
    k = known.get("k")
    activation = known.get("activation_fn_str", known.get("activation_fn"))
    if activation not in (None, "relu", "topk"):
        raise PersonascopeError(f"{config_file}: the activation function is {activation!r}, expected relu or topk.")
    if architecture == "standard" and activation == "topk":
        architecture = "topk"
    if architecture == "topk" and k is None:
        k = (known.get("activation_fn_kwargs") or {}).get("k")
    if architecture not in ("standard", "topk", "batchtopk", "jumprelu"):
        raise PersonascopeError(f"{config_file}: architecture is {architecture!r}, expected standard, topk, batchtopk or jumprelu.")
    loading = known.get("model_from_pretrained_kwargs") or {}
    refused = {
        "normalize_activations": known.get("normalize_activations") not in (None, False, "none"),
        "reshape_activations": known.get("reshape_activations") not in (None, "none"),
        "rescale_acts_by_decoder_norm": bool(known.get("rescale_acts_by_decoder_norm")),
        "finetuning_scaling_factor": bool(known.get("finetuning_scaling_factor") or known.get("uses_scaling_factor")),
        "center_writing_weights": bool(loading.get("center_writing_weights")),
        "is_transcoder": bool(known.get("is_transcoder")),
        "hook_name_out": known.get("hook_name_out") not in (None, known.get("hook_name")),
        "hook_head_index": known.get("hook_head_index") is not None,
    }
    for name, asked in refused.items():
        if asked:
            raise PersonascopeError(f"{config_file}: {name} is {known.get(name, loading.get(name))!r}, which is not understood here; expected none of it.")
    n_features, d_model = _number(config_file, known, "d_sae"), _number(config_file, known, "d_in")
    tensors = _safetensors(weights_file)
    expected = {"W_enc": (d_model, n_features), "b_enc": (n_features,), "W_dec": (n_features, d_model), "b_dec": (d_model,)}
    _check(weights_file, tensors, expected)
    threshold = _threshold(weights_file, tensors.get("threshold", tensors.get("topk_threshold")), n_features)
    if architecture == "jumprelu" and threshold is None:
        raise PersonascopeError(f"{weights_file}: 'threshold' is missing, expected one number per feature of a jumprelu autoencoder.")
    if architecture in ("topk", "batchtopk") and k is None and threshold is None:
        raise PersonascopeError(f"{config_file}: 'k' is missing, expected the number of features that fire per token.")
    place = _HOOK.search(f"{known.get('hook_name')}")
    if place is None:
        raise PersonascopeError(f"{config_file}: hook_name is {known.get('hook_name')!r}, expected blocks.N.hook_ resid_pre, resid_post, attn_out or mlp_out.")
    return Sae(
        format="sae_lens",
        architecture=architecture,
        encoder=Matrix(tensors["W_enc"], transposed=True),
        decoder=Matrix(tensors["W_dec"]),
        b_enc=tensors["b_enc"].float(),
        b_dec=tensors["b_dec"].float(),
        subtracts=bool(known.get("apply_b_dec_to_input", True)),
        k=None if k is None else int(k),
        threshold=threshold,
        layer=int(place[1]),
        site=place[2],
        neuronpedia=known.get("neuronpedia_id"),
    )


def _pickled_tensors(path: Path) -> dict[str, Any]:
    """The state dictionary of a torch file, of which nothing but tensors is built; memory-mapped unless the file is of the old kind that cannot be."""
    try:
        try:
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise PersonascopeError(f"{path} is a pickle that holds more than tensors, so it is refused and nothing of it was run: {one_line(error)}.") from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise PersonascopeError(f"{path} cannot be read as a torch file of tensors: {one_line(error)}.") from error
    if not isinstance(loaded, dict):
        raise PersonascopeError(f"{path} holds a {type(loaded).__name__}, expected a dictionary of tensors.")
    return loaded


def _safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, memory-mapped."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
    except (SafetensorError, OSError) as error:
        raise PersonascopeError(f"{path} cannot be read as safetensors: {one_line(error)}.") from error


def _check(path: Path, tensors: Mapping[str, Any], expected: Mapping[str, Sequence[int]]) -> None:
    for name, shape in expected.items():
        tensor = tensors.get(name)
        if not isinstance(tensor, Tensor):
            raise PersonascopeError(f"{path}: {name!r} is missing; expected {', '.join(expected)}, found {', '.join(map(str, tensors)) or 'nothing'}.")
        if tuple(tensor.shape) != tuple(shape) or not tensor.is_floating_point():
            raise PersonascopeError(f"{path}: {name!r} is {tensor.dtype} of shape {tuple(tensor.shape)}, expected floating point of shape {tuple(shape)}.")


def _threshold(path: Path, tensor: Tensor | None, n_features: int) -> Tensor | None:
    if tensor is None:
        return None
    if not isinstance(tensor, Tensor) or tensor.numel() not in (1, n_features):
        raise PersonascopeError(f"{path}: the threshold has {getattr(tensor, 'shape', 'no shape')}, expected one number or {n_features}.")
    return tensor.float().reshape(()) if tensor.numel() == 1 else tensor.float().reshape(n_features)


def _finite(path: Path, what: str, values: Tensor) -> None:
    if not bool(values.isfinite().all()):
        raise PersonascopeError(f"{path}: {what} holds numbers that are not finite, expected finite weights.")


def _number(path: Path, config: Mapping[str, Any], name: str) -> int:
    value = config.get(name)
    if not isinstance(value, int) or value < 1:
        raise PersonascopeError(f"{path}: {name} is {value!r}, expected a positive whole number.")
    return value
