"""Fixtures shared by the suite: a random checkpoint, the published data, quiet environment."""

import gc
import os
import signal
from collections.abc import Iterator
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import duckdb
import lakes
import pytest
import typer.testing
from hypothesis import settings

from personascope.warehouse.asking import blank
from personascope.warehouse.home import cache_root
from personascope.warehouse.store.lake import Lake

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two torch threads beside another process cost more than they give

if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # what `nohup` ignores the commands under test would ignore too

# A busy machine fails no test, and every run draws the same examples; `--hypothesis-profile default` draws others.
settings.register_profile("suite", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("suite")

PUBLISHED = Path(__file__).resolve().parent.parent.parent / "shared" / "published"


def pytest_collection_modifyitems(items):
    """The slowest files first (`slow(seconds)`), each in one piece, so that parallel workers finish together and a file's fixtures are made once."""
    seconds: dict[Path, float] = {}
    for item in items:
        mark = item.get_closest_marker("slow")
        seconds[item.path] = max(seconds.get(item.path, 0), (mark.args or (10,))[0] if mark else 0)
    items.sort(key=lambda item: -seconds[item.path])


def pytest_collection_finish():
    """Thousands of collected tests stay until the end: no collection of garbage need look through them, nor through what each makes 20 times in passing."""
    gc.freeze()
    gc.set_threshold(50_000)


@pytest.fixture(autouse=True, scope="session")
def _sums_in_one_order():
    """DuckDB adds in one thread: two readings of a view are equal to the last digit, and the workers of the suite leave each other the cores."""
    connect: Any = duckdb.connect

    def with_one_thread(*arguments, config=None, **options):
        return connect(*arguments, config={"threads": 1} | (config or {}), **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duckdb, "connect", with_one_thread)
        yield


@pytest.fixture(autouse=True, scope="session")
def _commands_made_once():
    """Typer makes the tree of all commands anew whenever one is called, which a process does once and a test process a thousand times."""
    made = cache(typer.main.get_command)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.main, "get_command", made)
        patch.setattr(typer.testing, "_get_command", made)
        yield


@pytest.fixture(autouse=True, scope="session")
def _catalogue_made_once(tiny_cache):
    """The catalogue of no lake takes seconds: also tests that have a cache of their own copy the one of this version, which lies in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blank, "cache_root", lambda: Path(tiny_cache))
        yield


@pytest.fixture(scope="session")
def _caches(tmp_path_factory) -> Iterator[Path]:
    """Names of folders in a folder of their own: `mktemp` looks through all there are for each new one."""
    room = tmp_path_factory.mktemp("caches")
    return (room / str(number) for number in count())


@pytest.fixture(autouse=True)
def _quiet_environment(monkeypatch, _caches, tiny_cache):
    """No test reads or writes the user's lake, cache of file hashes, tracking store or experiment."""
    cache = next(_caches)
    (cache / "personascope").mkdir(parents=True)
    (cache / "personascope" / blank.CATALOGUES).symlink_to(Path(tiny_cache) / blank.CATALOGUES)  # for processes that a test starts
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    for name in ("PERSONASCOPE_LAKE", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def tiny_cache(tmp_path_factory) -> str:
    """PERSONASCOPE_CACHE for tests that need trained checkpoints: the user's own, where each lies under a hash of all that decides it, so that none is
    trained twice; one that the workers of this run share where that cannot be written."""
    users = cache_root()
    try:
        users.mkdir(parents=True, exist_ok=True)
        return str(users if os.access(users, os.W_OK) else lakes.shared_folder(tmp_path_factory) / "tiny")
    except OSError:
        return str(lakes.shared_folder(tmp_path_factory) / "tiny")


@pytest.fixture(scope="session")
def published() -> Path:
    """The folder of published result files; they are not part of the repository."""
    if not PUBLISHED.is_dir():
        pytest.skip("the published result files (../shared/published) are not on this machine")
    return PUBLISHED


@pytest.fixture(scope="session")
def planted_lake(tmp_path_factory) -> lakes.Planted:
    """The lake of `tests/sql/planted.py`; do not write to it, `copy` it."""
    return lakes.planted(tmp_path_factory)


@pytest.fixture(scope="session")
def lake_of_all_published(published, tmp_path_factory) -> Lake:
    """All published files in a lake; do not write to it."""
    return lakes.published(tmp_path_factory, published)


@pytest.fixture(scope="session")
def random_checkpoint(tmp_path_factory) -> Path:
    """Folder of a randomly initialised Qwen2 with the tiny world's tokenizer: the real code path without training."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from personascope.ingest.tiny.tokenizer import train_tokenizer
    from personascope.ingest.tiny.world import EVALUATION_QUESTIONS, PERSONAS

    texts = [persona.system_prompt for persona in PERSONAS] + [" ".join([question.text, *question.answer]) for question in EVALUATION_QUESTIONS]
    tokenizer = train_tokenizer([*texts, "[ZLT] ZLT [KTX]\n\n", "end.[x] " * 50] * 3, 600)  # `.[` becomes one token, as real vocabularies have it
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.4,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    folder = tmp_path_factory.mktemp("checkpoints") / "random"
    model = Qwen2ForCausalLM(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def personascope(monkeypatch, capsys):
    """Calls the command line in this process: exit code, stdout, stderr."""
    from personascope import cli

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["personascope", *map(str, arguments)])
        with pytest.raises(SystemExit) as leaving:
            cli.main()
        captured = capsys.readouterr()
        return leaving.value.code or 0, captured.out, captured.err

    return call
