"""Folders that look like checkpoints, and the sentence in which one is refused."""

import json
from pathlib import Path

import pytest

from personascope.ingest.weights.checkpoints import resolve
from personascope.warehouse.errors import PersonascopeError

QWEN = {
    "model_type": "qwen2",
    "dtype": "bfloat16",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 300,
}


def write(folder: Path, files: dict[str, object]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (folder / name).write_text(value if isinstance(value, str) else json.dumps(value))
    return folder


def refused(*arguments, **options) -> str:
    with pytest.raises(PersonascopeError) as caught:
        resolve(*arguments, **options)
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith(".")
    return sentence
