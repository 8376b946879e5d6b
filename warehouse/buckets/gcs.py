"""A bucket of Google Cloud Storage: pyarrow moves what is large, a request of its JSON API with a condition commits what is small."""

import json
import os
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import uuid4

from personascope.warehouse.buckets.arrow import ArrowBucket
from personascope.warehouse.buckets.bucket import MARK, Change
from personascope.warehouse.errors import PersonascopeError, one_line
from personascope.warehouse.store.lake import BUCKET_MARK

EMULATOR = "STORAGE_EMULATOR_HOST"  # the variable by which Google's own clients are sent elsewhere
SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
SECONDS, RETRYING = 60.0, 20.0  # for one request, and for what pyarrow repeats by itself
WAITS = (0.5, 2.0, 0.0)  # seconds behind a try that the server asks to repeat, or that did not reach it
_LATER = (408, 429, 500, 502, 503, 504)


class GcsBucket(ArrowBucket):
    """Objects below `gs://BUCKET/PATH`, with the credentials that Google's libraries find (GOOGLE_APPLICATION_CREDENTIALS, `gcloud auth application-default
    login`, the machine's account), else as anybody, who may read what is public; STORAGE_EMULATOR_HOST names another server, which is asked without any.
    """

    trouble = "expected a bucket that is there, and credentials for it in GOOGLE_APPLICATION_CREDENTIALS or of `gcloud auth application-default login`"

    def __init__(self, address: str) -> None:
        super().__init__(address, "gs://")
        self._server = os.environ.get(EMULATOR, "")
        if self._server and "//" not in self._server:
            self._server = f"http://{self._server}"
        server = urlsplit(self._server)
        if self._server and (server.scheme not in ("http", "https") or not server.netloc):
            raise PersonascopeError(f"{EMULATOR} is {self._server!r}; expected an address such as http://localhost:9023")
        self._credentials: Any = None if self._server else self._found()
        from pyarrow import fs

        elsewhere = {"endpoint_override": server.netloc, "scheme": server.scheme} if self._server else {}
        self._fs = fs.GcsFileSystem(anonymous=self._credentials is None, retry_time_limit=timedelta(seconds=RETRYING), **elsewhere)
        self._client: Any = None
        self._heeds = False
        self._lock = threading.Lock()

    def _found(self) -> Any:
        """The credentials of this user or machine; None where there are none."""
        import google.auth
        from google.auth.exceptions import DefaultCredentialsError

        try:
            return google.auth.default(scopes=[SCOPE])[0]
        except DefaultCredentialsError as error:
            if os.environ.get("GOOGLE_APPLICATION_CREDENTIALS"):
                raise PersonascopeError(f"{self.address}: the credentials of GOOGLE_APPLICATION_CREDENTIALS cannot be used ({one_line(error)})") from error
            return None

    def read(self, key: str, most: int) -> tuple[bytes, str] | None:
        """An object and its generation, of one answer; None where there is none."""
        status, headers, content = self._asked("GET", f"/storage/v1/b/{self._bucket}/o/{quote(self._name(key), safe='')}?alt=media", most=most + 1)
        if status == 404:
            return None
        if status != 200 or not (generation := headers.get("x-goog-generation")):
            raise PersonascopeError(f"{self.address}: {key} cannot be read ({_reason(status, content)}); {self.trouble}")
        if len(content) > most:
            raise PersonascopeError(f"{self.address}: {key} takes more than {most:,} bytes")
        return content, generation

    def commit(self, changes: Sequence[Change]) -> list[bool]:
        """Each by one request that the server heeds only over the generation that was read, 0 where none was there (ifGenerationMatch).

        Raises PersonascopeError for a server that heeds no conditions.
        """
        if not self._heeds:
            self._put(BUCKET_MARK, MARK, None)
            if self._put(BUCKET_MARK, MARK, None):
                raise PersonascopeError(f"{self.address}: {self._server or 'the server'} made one object twice; expected a server that heeds ifGenerationMatch")
            self._heeds = True
        return [self._put(change.key, change.content, change.over) for change in changes]

    def _put(self, key: str, content: bytes, over: str | None) -> bool:
        border = uuid4().hex
        about = json.dumps({"name": self._name(key), "contentType": "application/json"}).encode()
        parts = [b"Content-Type: application/json; charset=UTF-8\r\n\r\n" + about, b"Content-Type: application/json\r\n\r\n" + content]
        body = b"".join(b"--" + border.encode() + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + border.encode() + b"--\r\n"
        path = f"/upload/storage/v1/b/{self._bucket}/o?uploadType=multipart&ifGenerationMatch={over or 0}"
        status, _, answer = self._asked("POST", path, body, {"content-type": f"multipart/related; boundary={border}"})
        if status == 412:
            return False
        if status != 200:
            raise PersonascopeError(f"{self.address}: {key} cannot be written ({_reason(status, answer)}); {self.trouble}")
        return True

    def _name(self, key: str) -> str:
        return f"{self._path}/{key}" if self._path else key

    def _asked(
        self, method: str, path: str, content: bytes | None = None, headers: Mapping[str, str] | None = None, most: int = 1 << 20
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and at most so many bytes of an answer; tried again where the connection breaks: a first try that came through shows as too late."""
        import httpx2

        self._client = self._client or httpx2.Client(timeout=SECONDS)
        url = f"{self._server or 'https://storage.googleapis.com'}{path}"
        for wait in WAITS:
            try:
                with self._client.stream(method, url, content=content, headers={**(headers or {}), **self._authorised(method, url)}) as answer:
                    found = bytearray()
                    for block in answer.iter_bytes():
                        found += block
                        if len(found) > most:
                            break
                    if answer.status_code not in _LATER or not wait:
                        return answer.status_code, answer.headers, bytes(found[:most])
            except httpx2.HTTPError as error:
                if not wait:
                    raise PersonascopeError(f"{self.address}: cannot be reached ({one_line(error)}); what is committed there stays") from error
            time.sleep(wait)
        raise AssertionError

    def _authorised(self, method: str, url: str) -> dict[str, str]:
        """The header of a token, renewed when it is about to end."""
        if self._credentials is None:
            return {}
        from google.auth.exceptions import GoogleAuthError
        from google.auth.transport.requests import Request

        found: dict[str, str] = {}
        with self._lock:
            try:
                self._credentials.before_request(Request(), method, url, found)
            except GoogleAuthError as error:
                raise PersonascopeError(f"{self.address}: the credentials are not taken ({one_line(error)}); {self.trouble}") from error
        return found


def _reason(status: int, answer: bytes) -> str:
    """What a refusal says of itself, else its number."""
    try:
        return f"HTTP {status}: {' '.join(str(json.loads(answer)['error']['message']).split())[:200]}"
    except (ValueError, KeyError, TypeError):
        return f"HTTP {status}"
