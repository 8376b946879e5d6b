"""A bucket of S3 or of a server that speaks its protocol: pyarrow moves what is large, a signed request commits what is small."""

import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from personascope.warehouse.buckets.arrow import ArrowBucket
from personascope.warehouse.buckets.bucket import MARK, Change
from personascope.warehouse.buckets.signing import Credentials, credentials, escaped, signed
from personascope.warehouse.errors import PersonascopeError, one_line
from personascope.warehouse.store.lake import BUCKET_MARK

SECONDS = 60.0
TRIES = 3
_CODE = re.compile(r"<Code>(\w+)</Code>")


class S3Bucket(ArrowBucket):
    """Objects below `s3://BUCKET/PATH`; the server is that of Amazon unless AWS_ENDPOINT_URL names another."""

    trouble = "expected a bucket that is there, and keys for it in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or ~/.aws/credentials"

    def __init__(self, address: str) -> None:
        super().__init__(address, "s3://")
        self._server = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
        self._keys: Credentials | None = credentials()
        self._fs, self._region = self._connect()
        self._client: Any = None
        self._heeds: bool | None = None

    def _connect(self) -> tuple[Any, str]:
        """The file system of pyarrow, which takes a third of a second to load, and the region to sign for."""
        from pyarrow import fs

        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or ("us-east-1" if self._server else "")
        server = urlsplit(self._server)
        if self._server and (server.scheme not in ("http", "https") or not server.netloc):
            raise PersonascopeError(f"AWS_ENDPOINT_URL is {self._server!r}; expected an address such as http://localhost:8333")
        with self._told("reached"):
            region = region or fs.resolve_s3_region(self._bucket)
            elsewhere = {"endpoint_override": server.netloc, "scheme": server.scheme} if self._server else {}
            keys = self._keys
            own = {"access_key": keys.access_key, "secret_key": keys.secret_key, "session_token": keys.token} if keys else {}
            return fs.S3FileSystem(region=region, **elsewhere, **own), region

    def read(self, key: str, most: int) -> tuple[bytes, str] | None:
        """An object and its ETag; None where there is none."""
        with self._told("read"):
            try:
                with self._fs.open_input_stream(f"{self._prefix}/{key}") as source:
                    content, version = source.read(most + 1), source.metadata().get("ETag", b"").decode()
            except FileNotFoundError:
                return None
        if len(content) > most:
            raise PersonascopeError(f"{self.address}: {key} takes more than {most:,} bytes")
        return content, version

    def commit(self, changes: Sequence[Change]) -> list[bool]:
        """Each by one conditional request (If-None-Match, If-Match), where the server heeds those and keys to sign with are at hand; else by looking first."""
        if self._heeds is None:
            self._heeds = self._keys is not None and self._heeds_conditions()
            if not self._heeds:
                why = "takes no conditions" if self._keys else "cannot be asked with conditions without keys in the environment or ~/.aws/credentials"
                self.notice = f"{self.address} {why}: of two who push another content of one run in the same moment, the later wins; neither is torn"
        return [self._put(change.key, change.content, change.over) if self._heeds else self._look_and_put(change) for change in changes]

    def _heeds_conditions(self) -> bool:
        """Whether the server refuses to make an object a second time: tried with the mark of the bucket."""
        self._put(BUCKET_MARK, MARK, None)
        return not self._put(BUCKET_MARK, MARK, None)

    def _put(self, key: str, content: bytes, over: str | None) -> bool:
        condition = {"if-none-match": "*"} if over is None else {"if-match": over}
        path = f"/{self._prefix}/{key}"
        server = urlsplit(self._server or f"https://s3.{self._region}.amazonaws.com")
        assert self._keys is not None
        headers = signed("PUT", server.netloc, path, condition, content, self._keys, self._region, datetime.now(UTC))
        answer = self._asked(f"{server.scheme}://{server.netloc}{escaped(path)}", content, headers)
        if answer.status_code in (409, 412) or (answer.status_code == 404 and over is not None):
            return False
        if answer.status_code != 200:
            code = _CODE.search(answer.text)
            raise PersonascopeError(f"{self.address}: {key} cannot be written ({code[1] if code else f'HTTP {answer.status_code}'}); {self.trouble}")
        return True

    def _asked(self, url: str, content: bytes, headers: dict[str, str]) -> Any:
        """The answer of the server, tried again where the connection breaks: a first try that came through shows as one that was too late."""
        import httpx2

        self._client = self._client or httpx2.Client(timeout=SECONDS)
        for left in reversed(range(TRIES)):
            try:
                return self._client.put(url, content=content, headers=headers)
            except httpx2.HTTPError as error:
                if not left:
                    raise PersonascopeError(f"{self.address}: cannot be written ({one_line(error)}); what is committed there stays") from error
        raise AssertionError

    def _look_and_put(self, change: Change) -> bool:
        def there() -> tuple[bytes, str] | None:
            return self.read(change.key, 1 << 30)

        before = there()
        if (before[1] if before else None) != change.over:
            return False
        with self._told("written"), self._fs.open_output_stream(f"{self._prefix}/{change.key}") as out:
            out.write(change.content)
        after = there()
        return after is not None and after[0] == change.content
