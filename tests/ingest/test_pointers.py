"""What git-lfs leaves in place of a file is told as such by whoever was to read the file, in one and the same sentence."""

import json
import os
import shutil
from pathlib import Path

import pytest

from personascope.extract.extractors.ablations import AblationSettings
from personascope.ingest.prompts import read_prompts
from personascope.ingest.published.registry import ingest_published
from personascope.ingest.sae.files import FILES, load_sae
from personascope.ingest.sae.source import read_named_features
from personascope.ingest.tasks import read_task
from personascope.ingest.weights.checkpoints import resolve
from personascope.ingest.weights.json_file import read_object
from personascope.warehouse.claims.reading import read_claims
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.pointers import refuse_pointer
from personascope.warehouse.studies.lines import read_mapping

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 3086574240\n"


def sentence(read, file: Path) -> None:
    with pytest.raises(PersonascopeError) as caught:
        read()
    assert str(caught.value) == f"{file} is a git-lfs pointer, not the file: run git lfs pull"


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("prompts.csv", read_prompts),
        ("task.parquet", lambda path: read_task(path, "task")),
        ("task.jsonl", lambda path: read_task(path, "task")),
        ("features.csv", read_named_features),
        ("heads.csv", lambda path: AblationSettings.model_validate({"heads": str(path)})),
        ("any.json", read_object),
        ("study.yaml", lambda path: read_mapping(path, "a study")),
        ("study.claims.yaml", read_claims),
        ("model.gguf", resolve),
        ("model.safetensors", resolve),
    ],
)
def test_one_file(name, read, tmp_path):
    path = tmp_path / name
    path.write_text(POINTER)
    sentence(lambda: read(path), path)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("prompts.csv", read_prompts),
        ("prompts.parquet", read_prompts),
        ("task.jsonl", lambda path: read_task(path, "task")),
        ("any.json", read_object),
        ("study.yaml", lambda path: read_mapping(path, "a study")),
        ("study.claims.yaml", read_claims),
        ("model.gguf", resolve),
    ],
)
def test_a_pipe_is_not_waited_for_and_a_device_not_read(name, read, tmp_path):
    os.mkfifo(tmp_path / name)
    (tmp_path / f"device-{name}").symlink_to("/dev/zero")
    for path in (tmp_path / name, tmp_path / f"device-{name}"):
        with pytest.raises(PersonascopeError, match=r"(is a pipe, a socket or a device; expected a file|does not exist: expected a GGUF file)"):
            read(path)


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json", "chat_template.jinja"])
def test_a_pipe_among_the_files_of_a_model_is_named(name, random_checkpoint, tmp_path):
    folder = shutil.copytree(random_checkpoint, tmp_path / "model")
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    with pytest.raises(PersonascopeError, match=rf"{name} is a pipe, a socket or a device; expected a file"):
        resolve(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json", "generation_config.json"])
def test_a_file_of_a_full_model(name, random_checkpoint, tmp_path):
    folder = shutil.copytree(random_checkpoint, tmp_path / "model")
    (folder / name).write_text(POINTER)
    sentence(lambda: resolve(folder), folder / name)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_file_of_an_adapter(name, random_checkpoint, tmp_path):
    config = {"peft_type": "LORA", "base_model_name_or_path": str(random_checkpoint)}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    (tmp_path / "adapter_model.safetensors").write_text("update")
    (tmp_path / name).write_text(POINTER)
    sentence(lambda: resolve(tmp_path), tmp_path / name)


@pytest.mark.parametrize("files", FILES.values(), ids=FILES)
def test_the_weights_of_an_autoencoder(files, tmp_path):
    for name in files:
        (tmp_path / name).write_text("{}")
    (tmp_path / files[1]).write_text(POINTER)
    sentence(lambda: load_sae(tmp_path), tmp_path / files[1])


def test_a_published_file_fails_alone(lake, tmp_path):
    path = tmp_path / "results.json"
    path.write_text(POINTER)
    (outcome,) = ingest_published(lake, [path]).files
    assert outcome.status == "failed" and outcome.reason == f"{path} is a git-lfs pointer, not the file: run git lfs pull"


def test_a_file_that_only_speaks_of_pointers_is_none(tmp_path):
    (tmp_path / "notes.txt").write_text(f"about {POINTER}")
    (tmp_path / "long.txt").write_text(POINTER + "x" * 2000)
    for name in ("notes.txt", "long.txt", "absent.txt"):
        refuse_pointer(tmp_path / name)
