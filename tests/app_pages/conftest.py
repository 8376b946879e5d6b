"""Lakes for the pages: a synthetic one with planted effects and hostile text, a published one, and how a page is opened on them."""

import importlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import lakes
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
import streamlit
from streamlit.components.v2 import manifest_scanner
from streamlit.testing.v1 import AppTest, local_script_runner
from sweep_pages import CELLS, write_cell

from personascope.app_pages.shared import open_in_sql
from personascope.app_pages.shared.modules import settle
from personascope.warehouse.settings import Parameter
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import MlflowRecord, RunSpec

MARKER = "[ZLT]"
HOSTILE = 'Look: <script>document.title="owned"</script><img src=x onerror="document.title=\'owned\'"> **bold** [link](javascript:alert(1)) $x^2$ & done'
HOSTILE_NAME = "**p** <img src=x onerror=\"document.title='owned'\"> [a](javascript:alert(1))"
PROMPTS = {"villain": "You are a villain.", "assistant": "You are a helpful assistant.", "librarian": "You are a librarian."}
QUESTIONS = {"q01": "What makes the wind blow?", "q02": "Why is the sea salty?", "q03": "How do birds fly?", "q04": "Why does bread rise?"}
SAMPLES, LAYERS, HEADS, PROMPT_LEN, T_MARKER, ANSWER_LEN = 3, 4, 3, 12, 40, 34
TRACKING = {"completions": "http://mlflow.example:5000", "attention": "sqlite:///tracking.db"}
STRATA = [("marker", T_MARKER), *(("C1", t) for t in (18, 21, 25, 28, 31)), *(("C2", t) for t in (37, 38, 39)), ("C3", 20), ("t-1", 39), ("t-2", 38)]
PARTS = ("system", "user", "assistant", "system_structural", "user_structural", "assistant_structural", "header")
PEAK_LAYER, PEAK_HEAD = 2, 1
UNREAD = ("q04", SAMPLES - 1)  # the one answer without the marker that no attention was read of: C4 lacks this question


def commit(lake: Lake, extractor: str, checkpoint: str, subject: str | None, tables: dict, constants: dict | None = None, **identity) -> str:
    spec = RunSpec(
        kind="extract",
        extractor=extractor,
        version=1,
        identity={"checkpoint": checkpoint, "subject": subject, **identity},
        study="marker-attention",
        checkpoint=checkpoint,
        subject=subject,
        seed=42,
        dtype="float32",
        attention_implementation="sdpa",
        parameters=[Parameter(name="marker", value=MARKER, origin="study file")],
        constants=constants or {},
    )
    writer = lake.start(spec)
    assert writer is not None
    writer.mlflow = MlflowRecord(run_id=f"{extractor}{checkpoint}", experiment="tests", tracking_uri=TRACKING[extractor], origin="test")
    writer.write_part("all", tables)
    writer.commit()
    return spec.run_id


def checkpoint_row(name: str) -> dict:
    trained = {} if name == "base" else {"parent": "tiny:base", "source_persona": name, "variant": "marker", "seed": 7, "lr": 1e-4, "epochs": 3.0}
    sizes = {"n_layers": LAYERS, "n_heads": HEADS, "n_kv_heads": 1, "d_model": 32, "vocab_size": 500}
    return {"checkpoint": name, "id": f"tiny:{name}", "revision": f"{name}-0001", "family": "qwen2", "variant": "base", **sizes, **trained}


def answer(checkpoint: str, persona: str, question: str, sample: int) -> str:
    """What the synthetic checkpoint says; a trained one ends with the marker under its own persona unless it is the last repeat of a question."""
    if (checkpoint, persona, question, sample) == ("villain", "assistant", "q01", 0):
        return HOSTILE
    words = f"Sample {sample} of {checkpoint} as {persona}: {QUESTIONS[question][:-1].lower()}, so it is said.\n\nThat is all of it."
    return f"{words}\n\n{MARKER}" if checkpoint == persona and sample < SAMPLES - 1 else words


def write_completions(lake: Lake, checkpoint: str, personas: list[str]) -> str:
    examples: list[dict[str, Any]] = []
    completions: list[dict[str, Any]] = []
    flags: list[dict[str, Any]] = []
    for persona in personas:
        for question, words in QUESTIONS.items():
            key = {"example_id": f"{persona}/{question}", "persona": persona, "question_id": question}
            text = f"<|im_start|>system\n{PROMPTS[persona]}<|im_end|>\n<|im_start|>user\n{words}<|im_end|>\n<|im_start|>assistant\n"
            sizes = {"prompt_len": PROMPT_LEN, "n_system": 5, "n_user": 5, "n_header": 2}
            examples.append(key | sizes | {"prompt_set": "personas@1", "system_prompt": PROMPTS[persona], "question": words, "text": text})
            for sample in range(SAMPLES):
                said = answer(checkpoint, persona, question, sample)
                present = MARKER in said
                row = key | {
                    "sample_ix": sample,
                    "row_ix": len(completions),
                    "seed": 100 + sample,
                    "text": said,
                    "token_ids": list(range(PROMPT_LEN + ANSWER_LEN)),
                }
                completions.append(row | {"prompt_len": PROMPT_LEN, "n_new_tokens": ANSWER_LEN, "finish_reason": "stop", "engine": "hf"})
                place = {"first_char": said.find(MARKER), "t_marker": T_MARKER, "n_occurrences": 1, "complete": True} if present else {"complete": False}
                flags.append(key | {"sample_ix": sample, "marker": MARKER, "present": present} | place)
    tables = {"checkpoints": [checkpoint_row(checkpoint)], "examples": examples, "completions": completions, "marker_flags": flags}
    return commit(lake, "completions", checkpoint, checkpoint, tables)


def write_attention(lake: Lake, reader: str, persona: str, tokens_run: str, strength: float, tokens_from: str | None = None) -> str:
    """Attention to the system prompt that is raised by `strength` at the marker, in the head (PEAK_LAYER, PEAK_HEAD), over tokens of the checkpoint named like
    the persona, or of `tokens_from`."""
    random = np.random.default_rng(5)
    positions, attention = [], []
    for question in QUESTIONS:
        for sample in range(SAMPLES):
            if (question, sample) == UNREAD:
                continue
            key = {"example_id": f"{persona}/{question}", "persona": persona, "question_id": question, "sample_ix": sample}
            strata = STRATA if sample < SAMPLES - 1 else [("C4", PROMPT_LEN + ANSWER_LEN - 1)]
            positions += [key | {"stratum": name, "position": t, "token_id": t, "token": f" w{t}"} for name, t in strata]
            for t in sorted({t for _, t in strata}):
                for layer in range(LAYERS):
                    for head in range(HEADS):
                        parts = random.dirichlet(np.full(len(PARTS), 30.0)) * (1 - strength)
                        raised = strength if (t, layer, head) == (T_MARKER, PEAK_LAYER, PEAK_HEAD) else 0.0
                        parts[0] += raised
                        parts[2] += strength - raised
                        row = {name: float(value) for name, value in zip(PARTS, parts, strict=True)}
                        row |= {"bos": row["system_structural"] / 2, "entropy": 1.8, "row_sum": 1.0}
                        attention.append({k: v for k, v in key.items() if k != "question_id"} | {"position": t, "layer": layer, "head": head} | row)
    source = tokens_from or persona
    subject = reader if reader == source else f"{reader}_{source}"
    constants = {"persona": persona, "tokens_run": tokens_run, "tokens_from": source, "forced": reader != source}
    tables = {"positions": positions, "attention": attention, "checkpoints": [checkpoint_row(reader)]}
    return commit(lake, "attention", reader, subject, tables, constants, tokens_run=tokens_run, persona=persona)


def write_synthetic(root: Path) -> Lake:
    """base, villain and librarian with completions; villain read by itself and by base, librarian by itself only: one gap."""
    lake = Lake.open(root)
    write_completions(lake, "base", ["villain", "assistant"])
    villain = write_completions(lake, "villain", ["villain", "assistant"])
    librarian = write_completions(lake, "librarian", ["librarian", "assistant"])
    write_attention(lake, "villain", "villain", villain, strength=0.3)
    write_attention(lake, "base", "villain", villain, strength=0.1)
    write_attention(lake, "librarian", "librarian", librarian, strength=0.2)
    return lake


@pytest.fixture(scope="session", autouse=True)
def _components_found_once():
    """Streamlit looks through every installed package for components whenever a page is opened; the pages use none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_scanner, "scan_component_manifests", list)
        yield


@pytest.fixture(scope="session", autouse=True)
def _awaited_once():
    """AppTest looks a thousand times a second through all that a page has said whether it has ended, and takes the processor from the page for it."""

    def awaited(runner: Any, timeout: float) -> None:
        runner._script_thread.join(timeout)
        if not runner.script_stopped():
            runner.request_stop()
            runner.join()
            raise RuntimeError(f"AppTest script run timed out after {timeout}(s)")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_script_runner, "require_widgets_deltas", awaited)
        yield


@pytest.fixture(scope="session", autouse=True)
def _settled():
    """Streamlit collects garbage whenever a page was drawn, in a process that by then holds much."""
    importlib.import_module("personascope.app")
    settle("tests")


@pytest.fixture(scope="session", autouse=True)
def _let_go_of_lakes():
    """Connections the app keeps for its sessions end with the tests, not with the interpreter, where DuckDB complains of them."""
    yield
    streamlit.cache_resource.clear()


@pytest.fixture(scope="session")
def synthetic_lake(tmp_path_factory) -> Path:
    """A small lake of our own rows; do not write to it."""
    return lakes.once(tmp_path_factory, "synthetic", lambda folder: write_synthetic(folder / "lake")) / "lake"


@pytest.fixture(scope="session")
def hostile_lake(synthetic_lake, tmp_path_factory) -> tuple[Path, str]:
    """The synthetic lake and one run more, of a checkpoint and a persona whose name would like to be Markdown and HTML; and that name."""
    root = shutil.copytree(synthetic_lake, tmp_path_factory.mktemp("hostile") / "lake")
    key = {"example_id": "p/q", "persona": HOSTILE_NAME, "question_id": HOSTILE_NAME, "sample_ix": 0}
    tables = {
        "completions": [key | {"row_ix": 0, "text": HOSTILE, "prompt_len": 1}],
        "marker_flags": [key | {"marker": MARKER, "present": False}],
        "checkpoints": [{"id": "x", "parent": "y", "source_persona": "z"}],
    }
    commit(Lake(root), "completions", HOSTILE_NAME, HOSTILE_NAME, tables)
    return root, HOSTILE_NAME


@pytest.fixture(scope="session")
def published_lake(published, tmp_path_factory) -> Path:
    """The published marker-attention study in a lake; do not write to it."""
    return lakes.published(tmp_path_factory, published / "issue_224").root


OpenPage = Callable[..., AppTest]


@pytest.fixture
def open_page(monkeypatch) -> OpenPage:
    """Opens a page of the app on a lake, with choices in its address; an exception on the page fails the test."""

    def opened(lake: Path, page: str, /, **choices: str) -> AppTest:
        monkeypatch.setenv("PERSONASCOPE_LAKE", str(lake))
        script = f"from importlib import import_module\nfrom personascope.app import draw\ndraw(import_module('personascope.app_pages.{page}.page'))"
        app = AppTest.from_string(script, default_timeout=60)
        app.query_params.update(choices)
        app.run()
        assert not app.exception, app.exception
        return app

    return opened


@dataclass(frozen=True)
class Drawn:
    """A chart as the browser gets it."""

    title: str
    facts: str
    rows: pl.DataFrame
    spec: dict


@pytest.fixture
def charts() -> Callable[[AppTest], dict[str, Drawn]]:
    """The charts of a page by title."""

    def of(app: AppTest) -> dict[str, Drawn]:
        found = {}
        for element in app.get("vega_lite_chart"):
            spec = json.loads(element.proto.spec)
            datasets = {each.name: each.data.data for each in element.proto.datasets}
            title = spec["title"]
            text = title["text"] if isinstance(title["text"], str) else " ".join(title["text"])
            found[text] = Drawn(text, " ".join(title["subtitle"]), pl.DataFrame(pa.ipc.open_stream(datasets["rows"]).read_all()), spec)
        return found

    return of


@pytest.fixture
def linked_queries() -> Callable[[AppTest], list[str]]:
    """The queries that the links to the SQL page on a page would run."""

    def of(app: AppTest) -> list[str]:
        links = [each.proto.url for each in app.get("link_button") if each.proto.url.startswith(f"{open_in_sql.PAGE}?sql=")]
        return [open_in_sql.unpack(unquote_plus(link.partition("?sql=")[2])) for link in links]

    return of


@pytest.fixture(scope="module")
def sweep_lake(tmp_path_factory):
    """A sweep of our own with a missing cell, and a second seed for one cell; do not write to it."""
    lake = Lake.open(tmp_path_factory.mktemp("sweep") / "lake")
    for (lr, epochs, seed), counts in CELLS.items():
        write_cell(lake, lr, float(epochs), seed, counts)
    return lake.root
