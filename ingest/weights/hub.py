"""Downloads a checkpoint from the Hugging Face Hub pinned to one commit, and says in one sentence why it could not."""

import errno
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, constants, get_cached_repo_tree, snapshot_download
from huggingface_hub.errors import (
    CachedRepoTreeNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    IncompleteSnapshotError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    RevisionResolutionError,
)

from personascope.ingest.weights.absent import NotHereError, refuse_pickles
from personascope.warehouse.errors import PersonascopeError

COMMIT = re.compile(r"[0-9a-f]{40}")
_WANTED = ("*.safetensors", "*.json", "*.txt", "*.model", "*.tiktoken", "*.jinja")


def download(repo_id: str, revision: str | None = None, subfolder: str | None = None, *, code: bool = False) -> tuple[Path, str]:
    """Fetch `repo_id` (or one `subfolder` of it) into the local Hub cache and return (folder, commit sha).

    Fetched are safetensors, JSON and tokenizer files of that one folder, never pickles, and Python files only with `code`. A branch or
    tag is resolved to its commit first and the commit is told on stderr. A commit whose files are all in the cache needs no network;
    with HF_HUB_OFFLINE only the cache is read. A cut connection is resumed within the call, finished files are kept between calls.
    Every failure is a PersonascopeError that names repository, revision and the remedy.
    """
    allow, ignore = _patterns(subfolder, code)
    folder, commit = _pinned(repo_id, revision, allow, ignore)
    place = folder / subfolder if subfolder else folder
    _check_listing(repo_id, commit, subfolder, place)
    return place, commit


def cached(repo_id: str, revision: str | None = None, subfolder: str | None = None, *, code: bool = False) -> tuple[Path, str]:
    """What `download` would return, from the local cache alone and without the network; raises NotHereError where files are missing there."""
    allow, ignore = _patterns(subfolder, code)
    try:
        commit = HfApi().resolve_revision(repo_id, revision=revision, local_files_only=True).resolved
        folder = Path(_fetch(repo_id, commit, allow, ignore, local=True))
    except HFValidationError as error:
        raise PersonascopeError(_explain(error, repo_id, repo_id, None)) from error
    except (RevisionResolutionError, LocalEntryNotFoundError, OSError):
        raise NotHereError(f"{repo_id} is downloaded from {constants.ENDPOINT} at first use") from None
    place = folder / subfolder if subfolder else folder
    if not any(place.glob("*.safetensors")):
        raise NotHereError(f"{repo_id} is downloaded from {constants.ENDPOINT} at first use")
    return place, commit


def download_files(repo_id: str, revision: str | None, patterns: list[str]) -> tuple[Path, str]:
    """Fetch the files of `repo_id` that match the patterns, of whatever kind, and return (snapshot folder, commit sha); pinned and explained as `download`."""
    return _pinned(repo_id, revision, patterns, [])


@contextmanager
def offline() -> Iterator[None]:
    """Inside, nothing is asked of the Hub; what is not in the local cache raises NotHereError."""
    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _pinned(repo_id: str, revision: str | None, allow: list[str], ignore: list[str]) -> tuple[Path, str]:
    """The snapshot folder and its commit; a branch or tag is told with the commit it means."""
    what = f"{repo_id} at revision {revision or constants.DEFAULT_REVISION}"
    try:
        folder, commit = _snapshot(repo_id, revision, allow, ignore)
    except (RevisionResolutionError, HfHubHTTPError, HFValidationError, httpx2.HTTPError, OSError, RuntimeError) as error:
        absent = constants.is_offline_mode() and isinstance(error, LocalEntryNotFoundError | RevisionResolutionError)
        raise (NotHereError if absent else PersonascopeError)(_explain(error, repo_id, what, _cached_commit(repo_id, revision))) from error
    if commit != revision:
        print(f"{what} is commit {commit}: pin `revision: {commit}` to read the same weights again", file=sys.stderr)
    return folder, commit


def _patterns(subfolder: str | None, code: bool) -> tuple[list[str], list[str]]:
    """Allow and ignore patterns for the files of one folder; in these patterns `*` also matches `/`, so deeper folders are ignored by name."""
    prefix = f"{subfolder}/" if subfolder else ""
    wanted = (*_WANTED, "*.py") if code else _WANTED
    # Mistral repositories hold all weights a second time as consolidated*.safetensors.
    return [prefix + pattern for pattern in wanted], [f"{prefix}*/*", f"{prefix}consolidated*.safetensors"]


def _snapshot(repo_id: str, revision: str | None, allow: list[str], ignore: list[str]) -> tuple[Path, str]:
    """The snapshot folder and its commit, from the cache where nothing can have changed and from the Hub otherwise."""
    if constants.is_offline_mode():
        commit = HfApi().resolve_revision(repo_id, revision=revision, local_files_only=True).resolved
        return Path(_fetch(repo_id, commit, allow, ignore, local=True)), commit
    if revision and COMMIT.fullmatch(revision) and (folder := _complete(repo_id, revision, allow, ignore)):
        return folder, revision
    # Asked before anything else: this call has a timeout, and snapshot_download would answer any failure with an older cached copy.
    commit = HfApi().model_info(repo_id, revision=revision, timeout=constants.HF_HUB_ETAG_TIMEOUT).sha or ""
    folder = Path(_fetch(repo_id, revision, allow, ignore))
    if folder.name != commit:
        raise PersonascopeError(f"{repo_id} moved from commit {commit} to {folder.name} during the download: run the command again.")
    return folder, commit


def _fetch(repo_id: str, revision: str | None, allow: list[str], ignore: list[str], local: bool = False) -> str:
    return snapshot_download(
        repo_id,
        revision=revision,
        allow_patterns=allow,
        ignore_patterns=ignore,
        etag_timeout=constants.HF_HUB_ETAG_TIMEOUT,
        local_files_only=local,
    )


def _complete(repo_id: str, commit: str, allow: list[str], ignore: list[str]) -> Path | None:
    """The cached snapshot of `commit`, if the cached listing of the repository proves that no wanted file is missing."""
    try:
        get_cached_repo_tree(repo_id, revision=commit)
        return Path(_fetch(repo_id, commit, allow, ignore, local=True))
    except (CachedRepoTreeNotFoundError, LocalEntryNotFoundError):
        return None


def _cached_commit(repo_id: str, revision: str | None) -> str | None:
    """The commit of a snapshot in the cache that this revision named when it was last fetched."""
    try:
        commit = HfApi().resolve_revision(repo_id, revision=revision, local_files_only=True).resolved
        return commit if Path(_fetch(repo_id, commit, ["config.json"], [], local=True)).is_dir() else None
    except (RevisionResolutionError, HFValidationError, OSError):
        return None


def _check_listing(repo_id: str, commit: str, subfolder: str | None, place: Path) -> None:
    """Refuse a subfolder that is not there and a folder with nothing but pickles, naming what is there."""
    try:
        files = [file.path for file in get_cached_repo_tree(repo_id, revision=commit)]
    except CachedRepoTreeNotFoundError:  # a cache filled by an older huggingface_hub: the files on disk are all that is known
        files = [path.relative_to(place).as_posix() for path in place.rglob("*")] if place.is_dir() else []
        files = [f"{subfolder}/{file}" for file in files] if subfolder else files
    where = f"{repo_id} at commit {commit}"
    if subfolder:
        inside = [file.removeprefix(f"{subfolder}/") for file in files if file.startswith(f"{subfolder}/")]
        if not inside:
            folders = sorted({file.rpartition("/")[0] for file in files if "/" in file})
            known = ", ".join(folders[:8]) or "none"
            raise PersonascopeError(f"{where} has no subfolder {subfolder!r}; its subfolders are: {known}.")
        where, files = f"{where}, subfolder {subfolder}", inside
    names = [file for file in files if "/" not in file]
    if not any(name.endswith(".safetensors") for name in names):
        raise refuse_pickles(where, names)


def _explain(error: BaseException, repo_id: str, what: str, cached: str | None) -> str:
    """One sentence for what went wrong with `what`, and what to do about it."""
    page = f"{constants.ENDPOINT}/{repo_id}"
    copy = f"; commit {cached} is in the local cache, set HF_HUB_OFFLINE=1 or type it as the revision to use that copy" if cached else ""
    again = "run the command again, finished files are kept" + copy
    cause = error.__cause__
    if isinstance(error, LocalEntryNotFoundError | RevisionResolutionError) and constants.is_offline_mode():
        state = "only partly in the local cache" if isinstance(error, IncompleteSnapshotError) else "not in the local cache"
        return f"{what} is {state} ({constants.HF_HUB_CACHE}) and HF_HUB_OFFLINE forbids the network: unset it once to download."
    if isinstance(error, LocalEntryNotFoundError) and isinstance(cause, Exception):
        return _explain(cause, repo_id, what, cached)
    if isinstance(error, HFValidationError):
        return f"{repo_id!r} is neither a local folder nor a Hub id: expected owner/name, owner/name/subfolder or an existing path."
    if isinstance(error, GatedRepoError):
        return f"{what} is gated: accept its terms at {page}, then log in with `hf auth login` or set HF_TOKEN."
    if isinstance(error, RevisionNotFoundError):
        return f"{what} does not exist: expected a branch, tag or commit listed at {page}/commits/main."
    if isinstance(error, RepositoryNotFoundError):
        remedy = "check the name (it is no local folder either) and, if it is private, log in with `hf auth login` or set HF_TOKEN"
        return f"{what} was not found at {constants.ENDPOINT}: {remedy}."
    if isinstance(error, HfHubHTTPError):
        return _explain_status(error.response.status_code, what, again)
    if isinstance(error, httpx2.TimeoutException):
        return f"{what} could not be read: {constants.ENDPOINT} did not answer in time; check the network, then {again}."
    if isinstance(error, httpx2.HTTPError):
        return f"{what} could not be read: no connection to {constants.ENDPOINT} ({_short(error)}); check network and proxy, then {again}."
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"{what} does not fit on the disk of {constants.HF_HUB_CACHE}: free some space or set HF_HOME to a larger disk."
    if isinstance(error, PermissionError):
        return f"{what} cannot be stored: no write permission in {constants.HF_HUB_CACHE}; set HF_HOME to a folder of your own."
    return f"{what} could not be downloaded from {constants.ENDPOINT} ({_short(error)}); {again}."


def _explain_status(status: int, what: str, again: str) -> str:
    if status == 401:
        remedy = "check the name, then log in with `hf auth login` or set a valid HF_TOKEN"
        return f"{what} was refused (401): it is private or gated, does not exist, or the token is not valid; {remedy}."
    if status == 403:
        return f"{what} was refused (403): the token may not read this repository; give it that permission or set another HF_TOKEN."
    if status == 429:
        return f"{what} was refused (429): too many requests; wait a few minutes, then {again}."
    return f"{what} could not be read: {constants.ENDPOINT} answered with HTTP status {status}; {again}."


def _short(error: BaseException) -> str:
    """Kind and first line of an error's message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].rstrip('.')}" if lines else type(error).__name__
