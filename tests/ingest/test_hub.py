"""Downloads against a small local server that speaks the Hub's API; each download runs in a process of its own, as the command line does."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
from huggingface_hub.constants import DOWNLOAD_CHUNK_SIZE

pytestmark = pytest.mark.slow(25)

ROOT = Path(__file__).parents[2]
REPO = "someone/model"
OLD, NEW = "a" * 40, "b" * 40
WEIGHTS = bytes(range(256)) * 4096  # 1 MiB
FILES = {
    "config.json": b'{"model_type": "qwen2"}',
    "model.safetensors": WEIGHTS,
    "tokenizer.json": b"{}",
    "pytorch_model.bin": b"pickle",
    "consolidated.safetensors": b"the same weights again",
    "modeling_own.py": b"print('code')",
    "original/params.json": b"{}",
    "step-100/adapter_config.json": b'{"peft_type": "LORA"}',
    "step-100/adapter_model.safetensors": b"adapter",
}
SCRIPT = """
import json, sys
from personascope.ingest.weights.hub import download
from personascope.warehouse.errors import PersonascopeError
try:
    folder, commit = download(*json.loads(sys.argv[1]))
    print(json.dumps({"folder": str(folder), "commit": commit}))
except PersonascopeError as error:
    print(json.dumps({"error": str(error)}))
"""


class Hub(ThreadingHTTPServer):
    """Serves `commits` (commit -> files) and `refs` (branch -> commit); `cut`, `refuse`, `moves` and `stall` make it misbehave."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.refs = {"main": OLD}
        self.commits = {OLD: dict(FILES), NEW: {**FILES, "config.json": b'{"model_type": "llama"}'}}
        self.cut: dict[str, int] = {}  # path -> bytes sent before the connection breaks, once
        self.refuse: dict[str, tuple[int, dict[str, str]]] = {}  # start of "GET /path" -> status and headers
        self.moves: list[str] = []  # commits that main moves to, one after each look at it
        self.stall = threading.Event()
        self.released = threading.Event()
        self.log: list[tuple[str, str, str | None]] = []  # method, path, Range

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def fetched(self) -> list[str]:
        return [path.rpartition("/resolve/")[2].partition("/")[2] for method, path, _ in self.log if method == "GET" and "/resolve/" in path]


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        hub, path = self.server, unquote(urlparse(self.path).path)
        hub.log.append((self.command, path, self.headers.get("Range")))
        if hub.stall.is_set():
            hub.released.wait(60)
            return
        for start, (status, headers) in hub.refuse.items():
            if f"{self.command} {path}".startswith(start):
                return self._send(status, headers, b"{}", body)
        if path.startswith(f"/api/models/{REPO}"):
            return self._api(path.removeprefix(f"/api/models/{REPO}"), body)
        if match := re.fullmatch(rf"/{REPO}/resolve/([^/]+)/(.+)", path):
            return self._file(match[1], match[2], body=body)
        self._send(404, {"X-Error-Code": "RepoNotFound"}, b"{}", body)

    def _api(self, rest: str, body: bool) -> None:
        hub = self.server
        _, kind, name = (rest or "/revision/main").split("/", 2)
        commit = hub.refs.get(name, name)
        if commit not in hub.commits:
            return self._send(404, {"X-Error-Code": "RevisionNotFound"}, b"{}", body)
        files = hub.commits[commit]
        if kind == "revision":
            if hub.moves:
                hub.refs["main"] = hub.moves.pop(0)
            answer = {"id": REPO, "sha": commit, "siblings": [{"rfilename": file} for file in files]}
            return self._send(200, {}, json.dumps(answer).encode(), body)
        tree = [{"type": "file", "path": file, "size": len(data), "oid": f"{hash_of(data):040x}"} for file, data in files.items()]
        self._send(200, {}, json.dumps(tree).encode(), body)

    def _file(self, commit: str, file: str, body: bool) -> None:
        data = self.server.commits[commit].get(file)
        if data is None:
            return self._send(404, {"X-Error-Code": "EntryNotFound"}, b"", body)
        headers = {"ETag": f'"{hash_of(data):040x}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        status, first = 200, 0
        if wanted := self.headers.get("Range"):
            first = int(wanted.removeprefix("bytes=").split("-")[0])
            status, headers["Content-Range"] = 206, f"bytes {first}-{len(data) - 1}/{len(data)}"
        sent = self.server.cut.pop(file, None) if body else None
        self._send(status, headers, data[first:], body, sent)

    def _send(self, status: int, headers: dict[str, str], data: bytes, body: bool, sent: int | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(data[:sent])
        self.close_connection = self.close_connection or sent is not None

    def log_message(self, *args: object) -> None:
        pass


def hash_of(data: bytes) -> int:
    return sum((place + 1) * byte for place, byte in enumerate(data[:1000])) + len(data)


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()


class Caller:
    """Calls `download` in a new process whose Hub is the local server and whose cache is the test's own."""

    def __init__(self, url: str, home: Path) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(("HF_", "HUGGING"))}
        self.env = {**kept, "HF_ENDPOINT": url, "HF_HOME": str(home), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "HF_HUB_ETAG_TIMEOUT": "2"}
        self.talk = ""

    def __call__(self, *arguments: str | None, **env: str) -> dict[str, str]:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, json.dumps(arguments)], env={**self.env, **env}, cwd=ROOT, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        self.talk = done.stderr
        return json.loads(done.stdout)

    def error(self, *arguments: str | None, **env: str) -> str:
        sentence = self(*arguments, **env)["error"]
        assert "\n" not in sentence and sentence.endswith(".")
        return sentence


@pytest.fixture
def call(hub: Hub, tmp_path: Path) -> Caller:
    return Caller(hub.url, tmp_path / "home")


def test_branch_is_pinned_to_its_commit_and_the_commit_needs_no_network_again(hub, call):
    first = call(REPO)
    folder = Path(first["folder"])
    assert first["commit"] == OLD and f"is commit {OLD}" in call.talk
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    hub.refs["main"] = NEW
    assert Path(call(REPO)["folder"], "config.json").read_bytes() == b'{"model_type": "llama"}'
    hub.log.clear()
    again = call(REPO, OLD)
    assert Path(again["folder"], "config.json").read_bytes() == FILES["config.json"]
    assert again["commit"] == OLD and hub.log == [] and "pin" not in call.talk


def test_branch_that_moves_during_the_download_is_refused(hub, call):
    hub.moves = [NEW]
    assert f"moved from commit {OLD} to {NEW} during the download: run the command again" in call.error(REPO)
    assert call(REPO)["commit"] == NEW


def test_neither_pickles_nor_code_nor_other_folders_are_fetched(hub, call):
    call(REPO)
    assert sorted(hub.fetched()) == ["config.json", "model.safetensors", "tokenizer.json"]


def test_subfolder_alone_is_fetched_and_a_missing_one_is_named(hub, call):
    found = call(REPO, OLD, "step-100")
    assert sorted(path.name for path in Path(found["folder"]).iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    assert sorted(hub.fetched()) == ["step-100/adapter_config.json", "step-100/adapter_model.safetensors"]
    assert "no subfolder 'step-7'; its subfolders are: original, step-100" in call.error(REPO, OLD, "step-7")


def test_cut_connection_is_resumed_where_it_broke(hub, call):
    weights = WEIGHTS * 12
    hub.commits[OLD]["model.safetensors"] = weights
    hub.cut["model.safetensors"] = DOWNLOAD_CHUNK_SIZE + 300_000
    folder = Path(call(REPO)["folder"])
    ranges = [wanted for method, path, wanted in hub.log if method == "GET" and path.endswith("/model.safetensors")]
    assert ranges == [None, f"bytes={DOWNLOAD_CHUNK_SIZE}-"]  # whole chunks are kept
    assert (folder / "model.safetensors").read_bytes() == weights


def test_next_call_keeps_the_files_that_were_finished(hub, call):
    hub.refuse[f"GET /{REPO}/resolve/{OLD}/model.safetensors"] = (500, {})
    error = call.error(REPO, OLD)
    assert "HTTP status 500" in error and REPO in error and OLD in error
    hub.refuse.clear()
    hub.log.clear()
    folder = Path(call(REPO, OLD)["folder"])
    assert hub.fetched() == ["model.safetensors"]
    assert (folder / "config.json").read_bytes() == FILES["config.json"]


@pytest.mark.parametrize(
    ("status", "headers", "words"),
    [
        (401, {}, "private or gated, does not exist"),
        (404, {"X-Error-Code": "RepoNotFound"}, "was not found at"),
        (401, {"X-Error-Message": "Invalid credentials in Authorization header"}, "the token is not valid"),
        (403, {"X-Error-Code": "GatedRepo"}, "is gated: accept its terms"),
        (403, {}, "the token may not read this repository"),
        (429, {}, "too many requests"),
        (503, {}, "HTTP status 503"),
    ],
)
def test_refusals_are_one_sentence_with_repository_revision_and_remedy(hub, call, status, headers, words):
    hub.refuse["GET /api/models"] = (status, headers)
    error = call.error(REPO, "main")
    assert words in error and f"{REPO} at revision main" in error
    assert ("hf auth login" in error or "HF_TOKEN" in error) == (status in (401, 403, 404))


def test_missing_revision_is_named(call):
    error = call.error(REPO, "v9")
    assert error.startswith(f"{REPO} at revision v9 does not exist: expected a branch, tag or commit")


def test_gated_files_of_an_open_listing_are_one_sentence_too(hub, call):
    hub.refuse[f"HEAD /{REPO}/resolve/"] = (403, {"X-Error-Code": "GatedRepo"})
    assert "is gated: accept its terms" in call.error(REPO)


def test_silent_server_times_out(hub, call):
    hub.stall.set()
    error = call.error(REPO, OLD, HF_HUB_ETAG_TIMEOUT="1")
    assert "did not answer in time" in error and f"{REPO} at revision {OLD}" in error and hub.url in error


def test_without_network_a_branch_is_not_guessed_from_the_cache(hub, call):
    error = call.error(REPO, HF_ENDPOINT="http://127.0.0.1:9")
    assert "no connection to http://127.0.0.1:9" in error and "cache" not in error
    call(REPO)
    error = call.error(REPO, HF_ENDPOINT="http://127.0.0.1:9")
    assert f"commit {OLD} is in the local cache" in error
    assert call(REPO, OLD, HF_ENDPOINT="http://127.0.0.1:9")["commit"] == OLD


def test_offline_reads_the_cache_only(hub, call):
    assert "not in the local cache" in call.error(REPO, HF_HUB_OFFLINE="1")
    assert "not in the local cache" in call.error(REPO, OLD, HF_HUB_OFFLINE="1")
    assert hub.log == []
    fetched = call(REPO)
    hub.refs["main"] = NEW
    hub.log.clear()
    assert call(REPO, HF_HUB_OFFLINE="1") == fetched == call(REPO, OLD, HF_HUB_OFFLINE="1")
    Path(fetched["folder"], "model.safetensors").unlink()
    assert "only partly in the local cache" in call.error(REPO, OLD, HF_HUB_OFFLINE="1")
    assert hub.log == []


def test_repository_of_pickles_is_refused_with_a_remedy(hub, call):
    hub.commits[OLD] = {"config.json": b"{}", "pytorch_model.bin": b"pickle"}
    error = call.error(REPO, OLD)
    assert "only pickled ones (pytorch_model.bin)" in error and "convert" in error
    assert hub.fetched() == ["config.json"]


def test_something_that_is_no_hub_id_is_said_to_be_neither(call):
    assert "neither a local folder nor a Hub id" in call.error("my model/v 1")
