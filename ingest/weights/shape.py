"""Family and sizes of a model as transformers reads its config.json, remembered, since reading it takes seconds of import."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from personascope.ingest.weights.content import memory, remember
from personascope.ingest.weights.json_file import read_object
from personascope.warehouse.errors import PersonascopeError, one_line
from personascope.warehouse.settings import short

_MOST_LABELS = 1_000_000


def read_shape(folder: Path, where: str, code: bool) -> dict[str, Any]:
    """Family, sizes and saved dtype (the defaults of transformers fill what the file leaves out); `code` allows Python code beside the weights.

    Raises PersonascopeError for a config.json that this transformers cannot read; `where` names the checkpoint in messages.
    """
    config = folder / "config.json"
    if code or not config.is_file():
        return _read(folder, where, code)
    known = memory("shapes", ["with positions", version("transformers"), config.read_text(encoding="utf-8", errors="replace")])
    try:
        return dict(json.loads(known.read_text()))
    except (OSError, ValueError, TypeError):  # nothing remembered yet, or nothing usable
        shape = _read(folder, where, code)
        remember(known, shape)
        return shape


def _read(folder: Path, where: str, code: bool) -> dict[str, Any]:
    from transformers import CONFIG_MAPPING, AutoConfig  # two seconds of import that most commands do without

    raw = read_object(folder / "config.json")
    family = raw.get("model_type")
    if not isinstance(family, str | None):
        raise PersonascopeError(f"{where}: model_type in config.json is {short(family)}; expected text.")
    if isinstance(labels := raw.get("num_labels"), int) and labels > _MOST_LABELS:  # each gets a name
        raise PersonascopeError(f"{where}: num_labels in config.json is {short(labels)}; expected at most {_MOST_LABELS:,}.")
    if family not in CONFIG_MAPPING and not code:
        if raw.get("auto_map"):
            raise PersonascopeError(
                f"{where} needs Python code from its own repository (auto_map in config.json, model_type {family!r}): read that code, "
                "then allow it with trust_remote_code."
            )
        raise PersonascopeError(f"{where}: model_type {family!r} in config.json is not an architecture that this transformers knows.")
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=code, local_files_only=True)
        text = config.get_text_config(decoder=True)
        heads = text.num_attention_heads
        sizes = {"n_layers": text.num_hidden_layers, "n_heads": heads, "d_model": text.hidden_size, "vocab_size": text.vocab_size}
        positions = getattr(text, "max_position_embeddings", None)  # some families have no limit
    except Exception as error:  # configuration classes, also those of remote code, raise what they like
        raise PersonascopeError(f"{folder / 'config.json'} cannot be read as a {family!r} language model ({one_line(error)}).") from error
    if wrong := [name for name, value in sizes.items() if isinstance(value, int) and value < 1]:
        raise PersonascopeError(f"{where}: config.json gives {wrong[0]} {sizes[wrong[0]]}; expected a number from 1.")
    dtype = str(text.dtype or config.dtype or "").removeprefix("torch.")
    positions = positions if isinstance(positions, int) and positions > 0 else None
    return {
        "family": family,
        "n_kv_heads": getattr(text, "num_key_value_heads", None) or heads,
        "stored_dtype": dtype or None,
        "max_positions": positions,
        **sizes,
    }
