"""A dataset of the Hugging Face Hub as a bucket: many runs appear by one commit of its history, made on top of the one that was read."""

import hashlib
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

from personascope.warehouse.buckets.bucket import MARK, Change, Watch
from personascope.warehouse.errors import PersonascopeError, one_line
from personascope.warehouse.store.lake import BUCKET_MARK

CARD = "README.md"
HELD = 10 << 20  # bytes; what is smaller may be kept for the commit, what is larger is sent at once
TRIES = 5
_MOVED_ON = (409, 412)
_NAME = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_KIND: Any = "dataset"


class HubBucket:
    """Objects as files of `hf://datasets/OWNER/NAME`. Tables are uploaded first and wait outside of the history; a commit names them and their manifests."""

    at_once, batch, notice = 4, 50, None  # the Hub counts commits by the hour

    def __init__(self, address: str, api: Any = None) -> None:
        self.address = address.rstrip("/")
        self._name = self.address.removeprefix("hf://datasets/")
        if not self.address.startswith("hf://datasets/") or not _NAME.fullmatch(self._name):
            raise PersonascopeError(f"{address}: expected hf://datasets/OWNER/NAME")
        if api is None:
            from huggingface_hub import HfApi

            api = HfApi()
        self._api = api
        self._head: str | None = None
        self._is_looked_at = True  # whether what stands in the head is what was read; not where the dataset came meanwhile
        self._there: set[str] = set()
        self._sent: dict[str, Any] = {}
        self._lock = threading.Lock()

    def entries(self) -> dict[str, int]:
        """Bytes by key of everything under `runs/` in the newest commit, which all that is read afterwards belongs to; nothing where there is no dataset."""
        from huggingface_hub.errors import EntryNotFoundError

        with self._told("read"):
            if (head := self._newest()) is None:
                return {}
            self._head = head
            try:
                listed = list(self._api.list_repo_tree(self._name, "runs", recursive=True, revision=head, repo_type=_KIND))
            except EntryNotFoundError:
                listed = []
        found = {each.path: each.size for each in listed if hasattr(each, "size")}
        self._there = set(found)
        return found

    def _newest(self) -> str | None:
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            return self._api.repo_info(self._name, repo_type=_KIND).sha
        except RepositoryNotFoundError:
            return None

    def read(self, key: str, most: int) -> tuple[bytes, str] | None:
        """A small object and the hash of its bytes; None where there is none."""
        try:
            with self.open(key) as source:
                content = source.read(most + 1)
        except FileNotFoundError:
            return None
        if len(content) > most:
            raise PersonascopeError(f"{self.address}: {key} takes more than {most:,} bytes")
        return content, hashlib.blake2b(content, digest_size=16).hexdigest()

    @contextmanager
    def open(self, key: str) -> Iterator[BinaryIO]:
        """An object, fetched into a folder that goes again. Raises FileNotFoundError."""
        from huggingface_hub.errors import EntryNotFoundError

        with TemporaryDirectory() as folder:
            try:
                with self._told("read"):
                    path = self._api.hf_hub_download(self._name, key, repo_type=_KIND, revision=self._head, local_dir=folder)
            except PersonascopeError as error:
                if isinstance(error.__cause__, EntryNotFoundError):
                    raise FileNotFoundError(key) from None
                raise
            with Path(path).open("rb") as source:
                yield source

    def send(self, source: BinaryIO, key: str, watch: Watch) -> None:
        """Uploads a table outside of the history; what is there already is not sent again."""
        from huggingface_hub import CommitOperationAdd

        watch(0)
        content = source.read(HELD + 1)
        source.seek(0)
        with self._told("written"):
            self._make()
            addition = CommitOperationAdd(key, content if len(content) <= HELD else source)
            self._api.preupload_lfs_files(self._name, [addition], repo_type=_KIND)
        self._sent[key] = addition
        watch(addition.upload_info.size)

    def _make(self) -> None:
        """Makes the dataset, which only its owner sees until that is changed on the Hub, where there is none."""
        with self._lock:
            if self._head is None:
                self._api.create_repo(self._name, repo_type=_KIND, private=True, exist_ok=True)
                self._head, self._is_looked_at = self._newest(), False

    def commit(self, changes: Sequence[Change]) -> list[bool]:
        """All in one commit on top of the one that was read; where that moved on, all whose own object is still the one that was read."""
        from huggingface_hub import CommitOperationAdd

        with self._told("written"):
            self._make()
        with self._lock:
            left = list(changes) if self._is_looked_at else self._unchanged(changes)
            for _ in range(TRIES):
                folders = {change.key.rpartition("/")[0] for change in left}
                additions = [addition for key, addition in self._sent.items() if key.rpartition("/")[0] in folders]
                additions += [CommitOperationAdd(change.key, change.content) for change in left]
                if not any(key == BUCKET_MARK for key in self._there):
                    additions.append(CommitOperationAdd(BUCKET_MARK, MARK))
                if not left or self._committed(additions, f"{len(left)} runs"):
                    for key in [key for key in self._sent if key.rpartition("/")[0] in folders]:
                        del self._sent[key]
                    return [change in left for change in changes]
                with self._told("read"):
                    self._head = self._newest()
                left = self._unchanged(left)
        raise PersonascopeError(f"{self.address}: others committed {TRIES} times while this push tried to; the same command goes on")

    def _unchanged(self, changes: Sequence[Change]) -> list[Change]:
        """Those whose object is still the one that was read."""
        self._is_looked_at = True
        found = {change.key: self.read(change.key, 1 << 30) for change in changes}
        return [change for change in changes if (there[1] if (there := found[change.key]) is not None else None) == change.over]

    def _committed(self, operations: list[Any], message: str) -> bool:
        """Whether a commit came through; False where another was made on top of the same one."""
        from huggingface_hub.errors import HfHubHTTPError

        with self._told("written"):
            try:
                made = self._api.create_commit(self._name, operations, commit_message=f"personascope: {message}", repo_type=_KIND, parent_commit=self._head)
            except HfHubHTTPError as error:
                if error.response is not None and error.response.status_code in _MOVED_ON:
                    return False
                raise
        self._head = made.oid
        self._there |= {each.path_in_repo for each in operations}
        return True

    def remove(self, keys: Iterable[str]) -> None:
        """Removes files in one commit; the history of the dataset keeps them."""
        from huggingface_hub import CommitOperationDelete

        wanted = set(keys)
        for _ in range(TRIES):
            if not (doomed := sorted(wanted & self.entries().keys())):
                return
            if self._committed([CommitOperationDelete(key) for key in doomed], f"{len(doomed)} files of no run"):
                return
        raise PersonascopeError(f"{self.address}: others committed {TRIES} times while files of no run were to go; the same command goes on")

    def describe(self, text: str) -> None:
        """The card of the dataset, where it says something else than before."""
        from huggingface_hub import CommitOperationAdd

        content = text.encode()
        self.entries()
        before = self.read(CARD, 1 << 30)
        if before is None or before[0] != content:
            self._committed([CommitOperationAdd(CARD, content)], "the card")

    @contextmanager
    def _told(self, verb: str) -> Iterator[None]:
        """What the Hub or the network refuses as one sentence."""
        try:
            yield
        except (OSError, ValueError) as error:
            hint = "expected a dataset that you may use: `hf auth login`, or HF_TOKEN with a token that may write to push"
            raise PersonascopeError(f"{self.address}: cannot be {verb} ({one_line(error)}); {hint}") from error
