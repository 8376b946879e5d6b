"""Requests to a bucket are signed as its provider says, with keys from where its command line keeps them."""

import json
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from personascope.warehouse.buckets import gcs, signing
from personascope.warehouse.buckets.bucket import Change
from personascope.warehouse.errors import PersonascopeError

pytestmark = pytest.mark.slow(3)


class _Google(BaseHTTPRequestHandler):
    """Gives a token for what a service account signed, and an object to who bears it; makes an object as often as it is asked, whatever the conditions."""

    asked: ClassVar[list[tuple[str, str | None]]] = []

    def do_POST(self) -> None:
        self._answer(b'{"access_token": "secret", "expires_in": 3600, "token_type": "Bearer"}')

    def do_GET(self) -> None:
        self._answer(b"{}")

    def _answer(self, content: bytes) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.asked.append((self.path, self.headers.get("authorization")))
        self.send_response(200)
        self.send_header("x-goog-generation", "7")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def test_requests_to_google_bear_the_token_of_its_credentials_and_a_server_that_heeds_no_condition_is_refused(tmp_path, monkeypatch):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Google) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        account = {"type": "service_account", "client_email": "a@b", "private_key": secret, "token_uri": f"{address}/token", "project_id": "p"}
        (tmp_path / "account.json").write_text(json.dumps(account))
        monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "account.json"))
        bucket = gcs.GcsBucket("gs://lakes/team")
        bucket._server = address
        assert bucket.read("runs/a b/run.json", 10) == (b"{}", "7")
        assert _Google.asked == [("/token", None), ("/storage/v1/b/lakes/o/team%2Fruns%2Fa%20b%2Frun.json?alt=media", "Bearer secret")]
        with pytest.raises(PersonascopeError, match="takes more than 1 bytes"):
            bucket.read("runs/a/run.json", 1)
        with pytest.raises(PersonascopeError, match="made one object twice; expected a server that heeds ifGenerationMatch"):
            bucket.commit([Change("runs/a/run.json", b"{}", None)])
        server.shutdown()
    (tmp_path / "account.json").write_text("{}")
    with pytest.raises(PersonascopeError, match="credentials of GOOGLE_APPLICATION_CREDENTIALS cannot be used"):
        gcs.GcsBucket("gs://lakes/team")


def test_the_signature_is_the_one_that_amazon_gives_as_an_example():
    """PUT Object in "Signature Calculations for the Authorization Header" of the S3 API reference."""
    keys = signing.Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
    headers = {"Date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"}
    now = datetime(2013, 5, 24, tzinfo=UTC)
    found = signing.signed("PUT", "examplebucket.s3.amazonaws.com", "/test$file.text", headers, b"Welcome to Amazon S3.", keys, "us-east-1", now)
    assert found["authorization"].endswith("Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd")


def test_keys_come_from_the_environment_else_from_the_files_of_the_command_line(monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    assert signing.credentials() is None
    (tmp_path / "config").write_text("[profile team]\naws_access_key_id = c\naws_secret_access_key = %d\naws_session_token = t\n")
    monkeypatch.setenv("AWS_PROFILE", "team")
    assert signing.credentials() == signing.Credentials("c", "%d", "t")
    (tmp_path / "credentials").write_text("[team]\naws_access_key_id = a\naws_secret_access_key = b\n")
    assert signing.credentials() == signing.Credentials("a", "b")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "e")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "f")
    assert signing.credentials() == signing.Credentials("e", "f")
