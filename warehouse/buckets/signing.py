"""Signs a request to S3 (AWS Signature Version 4): pyarrow sends no conditions, and a commit needs one."""

import hashlib
import hmac
import os
from collections.abc import Mapping
from configparser import ConfigParser, Error
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

ALGORITHM = "AWS4-HMAC-SHA256"
NAMES = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")


@dataclass(frozen=True)
class Credentials:
    """The two keys of an account, and the token of a session that has one."""

    access_key: str
    secret_key: str
    token: str | None = None


def credentials() -> Credentials | None:
    """The keys of the environment, else of the files of the AWS command line; None where neither holds any (an instance's role, a single sign-on)."""
    found = _of({name: os.environ[name.upper()] for name in NAMES if name.upper() in os.environ})
    profile = os.environ.get("AWS_PROFILE") or "default"
    home = Path.home() / ".aws"
    for file, section in (
        (os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or home / "credentials", profile),
        (os.environ.get("AWS_CONFIG_FILE") or home / "config", profile if profile == "default" else f"profile {profile}"),
    ):
        parser = ConfigParser(interpolation=None)
        try:
            parser.read(file, encoding="utf-8")
        except (Error, OSError, UnicodeDecodeError):
            continue
        found = found or (_of(parser[section]) if parser.has_section(section) else None)
    return found


def _of(source: Mapping[str, str]) -> Credentials | None:
    access, secret, token = (source.get(name) for name in NAMES)
    return Credentials(access, secret, token or None) if access and secret else None


def signed(method: str, host: str, path: str, headers: Mapping[str, str], body: bytes, keys: Credentials, region: str, now: datetime) -> dict[str, str]:
    """The headers of a request without a query, the signature among them; `path` as it is named, `now` in UTC."""
    stamp = f"{now:%Y%m%dT%H%M%SZ}"
    token = {"x-amz-security-token": keys.token} if keys.token else {}
    sent = {name.lower(): value for name, value in headers.items()} | {
        "host": host,
        "x-amz-content-sha256": hashlib.sha256(body).hexdigest(),
        "x-amz-date": stamp,
        **token,
    }
    names = ";".join(sorted(sent))
    canonical = [method, escaped(path), "", *(f"{name}:{sent[name].strip()}" for name in sorted(sent)), "", names, sent["x-amz-content-sha256"]]
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    text = "\n".join([ALGORITHM, stamp, scope, hashlib.sha256("\n".join(canonical).encode()).hexdigest()])
    key = f"AWS4{keys.secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    return sent | {"authorization": f"{ALGORITHM} Credential={keys.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"}


def escaped(path: str) -> str:
    """A path as S3 signs it and as it is sent."""
    return quote(path, safe="/-_.~")
