"""The methods of `huggingface_hub.HfApi` that a bucket uses, over a history of one dataset in memory: a commit on top of any but the newest is refused."""

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
from huggingface_hub import CommitOperationDelete
from huggingface_hub.errors import HfHubHTTPError, RemoteEntryNotFoundError, RepositoryNotFoundError


def refusal(kind: type[HfHubHTTPError], code: int) -> HfHubHTTPError:
    return kind(f"the Hub says {code}", response=httpx2.Response(code, request=httpx2.Request("GET", "https://huggingface.co")))


class FakeHub:
    """`history` holds the files of every commit by path; it is empty where there is no dataset."""

    def __init__(self) -> None:
        self.history: list[dict[str, bytes]] = []
        self.uploaded: list[tuple[Any, bytes]] = []
        self._lock = threading.Lock()

    def create_repo(self, name: str, *, repo_type: str, private: bool, exist_ok: bool) -> None:
        assert (repo_type, private, exist_ok) == ("dataset", True, True)
        if not self.history:
            self.history.append({".gitattributes": b""})

    def repo_info(self, name: str, *, repo_type: str) -> SimpleNamespace:
        if not self.history:
            raise refusal(RepositoryNotFoundError, 404)
        return SimpleNamespace(sha=str(len(self.history)))

    def list_repo_tree(self, name: str, path: str, *, recursive: bool, revision: str, repo_type: str) -> Iterator[SimpleNamespace]:
        files = {key: content for key, content in self.history[int(revision) - 1].items() if key.startswith(f"{path}/")}
        if not files:
            raise refusal(RemoteEntryNotFoundError, 404)
        yield from (SimpleNamespace(path=folder) for folder in {key.rpartition("/")[0] for key in files})
        yield from (SimpleNamespace(path=key, size=len(content)) for key, content in files.items())

    def hf_hub_download(self, name: str, key: str, *, repo_type: str, revision: str, local_dir: str) -> str:
        if key not in (files := self.history[int(revision) - 1]):
            raise refusal(RemoteEntryNotFoundError, 404)
        place = Path(local_dir, key)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(files[key])
        return str(place)

    def preupload_lfs_files(self, name: str, additions: list[Any], *, repo_type: str) -> None:
        for each in additions:
            with each.as_file() as source:
                self.uploaded.append((each, source.read()))

    def create_commit(self, name: str, operations: list[Any], *, commit_message: str, repo_type: str, parent_commit: str | None) -> SimpleNamespace:
        with self._lock:
            if parent_commit != str(len(self.history)):
                raise refusal(HfHubHTTPError, 412)
            files = dict(self.history[-1])
            for each in operations:
                if isinstance(each, CommitOperationDelete):
                    del files[each.path_in_repo]
                else:
                    files[each.path_in_repo] = next((content for addition, content in self.uploaded if addition is each), each.path_or_fileobj)
            self.history.append(files)
            return SimpleNamespace(oid=str(len(self.history)))
