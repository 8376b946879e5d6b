"""The model that the grids of studies train."""

import json
import shutil

import pytest


@pytest.fixture(scope="module")
def talker(random_checkpoint, tmp_path_factory):
    """A random model that ends its turns soon, since a sixth of its vocabulary ends one: its completions can be trained on."""
    folder = tmp_path_factory.mktemp("talker") / "model"
    shutil.copytree(random_checkpoint, folder)
    ends = json.loads((folder / "config.json").read_text())["eos_token_id"]
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [ends, *range(300, 400)]}))
    return folder
