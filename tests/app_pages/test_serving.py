"""Who may ask the app: requests by another name or from another site are refused, and a token guards every door of the server."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

import pytest

from personascope.app_pages.serving import start
from personascope.app_pages.serving.addresses import Door, machine_names
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake

WAIT = 60
DOORS = ["/", "/_stcore/health", "/_stcore/host-config", "/media/0.csv", "/static/js/x.js", "/component/x/y.js", "/_stcore/upload_file/a/b", "//evil.example/"]


class Server(NamedTuple):
    process: subprocess.Popen
    port: int
    token: str

    def get(self, path: str, host: str = "localhost", method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request(method, path, headers={"Host": host} | headers)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read().decode()

    def handshake(self, host: str, **headers: str) -> int:
        """The status that answers a websocket's first words."""
        asked = {"Host": host, "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version": "13"}
        lines = ["GET /_stcore/stream HTTP/1.1", *(f"{name}: {value}" for name, value in (asked | headers).items())]
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as wire:
            wire.sendall("\r\n".join([*lines, "", ""]).encode())
            return int(wire.recv(100).split()[1])


@pytest.fixture(scope="module")
def guarded(tmp_path_factory) -> Iterator[Server]:
    """The app of an empty lake, guarded by a token that it made up."""
    lake = Lake.open(tmp_path_factory.mktemp("guarded") / "lake")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "personascope", "app", "--token", "--port", str(port), "--lake", str(lake.root)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        told = re.search(r"http://127\.0\.0\.1:\d+/\?token=(\S{32}) ", process.stderr.readline())
        assert told is not None
        end = time.monotonic() + WAIT
        while time.monotonic() < end:
            with socket.socket() as probe:
                if not probe.connect_ex(("127.0.0.1", port)):
                    break
            time.sleep(0.1)
        yield Server(process, port, told[1])
        process.send_signal(signal.SIGHUP)
        _, err = process.communicate(timeout=20)
        assert (process.returncode, err) == (128 + signal.SIGHUP, "personascope: the app is stopped\n")
    finally:
        process.kill()


@pytest.mark.slow(8)
def test_another_name_or_site_is_refused_over_http_and_for_the_websocket(guarded):
    status, headers, text = guarded.get(f"/?token={guarded.token}&page=x")
    assert (status, headers["location"], text) == (303, "/?page=x", "")
    assert re.search(r"; HttpOnly.*; SameSite=lax", headers["set-cookie"], re.IGNORECASE) and guarded.token not in headers["set-cookie"]
    cookie = headers["set-cookie"].partition(";")[0]
    for host in ("localhost", f"127.0.0.1:{guarded.port}", "[::1]:9999"):
        status, headers, _ = guarded.get("/_stcore/health", host, Cookie=cookie)
        assert status == 200 and headers["content-security-policy"].startswith("default-src 'self'")
        assert guarded.handshake(host, Cookie=cookie, Origin=f"http://{host}") == 101
    for host in ("evil.example", f"evil.example:{guarded.port}", "127.0.0.1.evil.example", "0.0.0.0", "localhost@evil.example", ""):
        status, _, text = guarded.get("/_stcore/health", host, Cookie=cookie)
        assert status == 403 and text.count("\n") == 1 and "--allow-host" in text
        assert guarded.handshake(host, Cookie=cookie, Origin=f"http://{host}") == 403
    for origin in ("http://evil.example", "null", "http://[", f"http://localhost:{guarded.port + 1}"):
        assert guarded.handshake(f"localhost:{guarded.port}", Cookie=cookie, Origin=origin) == 403
        assert "another site" in guarded.get("/_stcore/health", f"localhost:{guarded.port}", Cookie=cookie, Origin=origin)[2]


@pytest.mark.slow(8)
def test_without_the_token_no_door_opens_and_nobody_sees_it_in_the_list_of_processes(guarded):
    for path in DOORS:
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE"):
            status, headers, _ = guarded.get(path, method=method)
            assert status == 403 and "set-cookie" not in headers, (path, method)
    assert guarded.handshake("localhost") == 403
    assert guarded.handshake("localhost", Cookie=f"personascope-{guarded.port}={guarded.token}") == 403
    for wrong in ("", guarded.token[:-1], guarded.token + "x", "%ff%00"):
        assert guarded.get(f"/?token={wrong}")[0] == 403
    status, headers, _ = guarded.get(f"//evil.example/?token={guarded.token}")
    assert (status, headers["location"]) == (303, "/evil.example/")
    if Path("/proc/self/cmdline").exists():
        assert guarded.token not in Path(f"/proc/{guarded.process.pid}/cmdline").read_text()


@pytest.mark.parametrize(
    ("address", "host", "reached", "answers"),
    [
        ("127.0.0.1", "localhost:8501", "127.0.0.1", True),
        ("127.0.0.1", "LOCALHOST.", "127.0.0.1", True),
        ("localhost", "127.8.8.8", "127.8.8.8", True),
        ("127.0.0.1", "192.168.1.7", "127.0.0.1", False),
        ("127.0.0.1", "lab.example", "127.0.0.1", False),
        ("192.168.1.7", "192.168.1.7:80", "192.168.1.7", True),
        ("192.168.1.7", "192.168.1.8", "192.168.1.7", False),
        ("lab.example", "lab.example", "10.0.0.1", True),
        ("lab.example", "10.0.0.1", "10.0.0.1", True),
        ("lab.example", "evil.example", "10.0.0.1", False),
        ("0.0.0.0", "10.0.0.1:8501", "172.17.0.2", True),
        ("::", "[2001:db8::1]:8501", "::ffff:10.0.0.1", True),
        ("0.0.0.0", machine_names()[0], "10.0.0.1", True),
        ("0.0.0.0", "evil.example", "10.0.0.1", False),
        ("127.0.0.1", "proxy.example:443", "127.0.0.1", True),
    ],
)
def test_the_app_answers_to_the_names_it_has(address, host, reached, answers):
    assert Door(address, frozenset(["proxy.example"])).answers_to(host, reached) is answers


def test_a_proxy_that_was_named_may_ask_under_its_name():
    door = Door("127.0.0.1", frozenset(["proxy.example"]))
    assert door.is_own_page("https://proxy.example", "127.0.0.1:8501") and not door.is_own_page("https://evil.example", "127.0.0.1:8501")


@pytest.fixture
def started(monkeypatch, tmp_path):
    """Starts the app as far as the server's own command; returns its arguments and environment."""
    found: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(os, "execve", lambda program, arguments, environment: found.append((arguments, environment)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(start.TOKEN, raising=False)

    def serve(host: str, names: tuple[str, ...] = (), wants_token: bool = False, port: int = 0) -> tuple[list[str], dict[str, str]]:
        start.serve(tmp_path, host, port, names, wants_token)
        return found[-1]

    return serve


def test_an_open_address_is_warned_of_and_a_token_is_handed_over_in_the_environment(started, monkeypatch, capsys):
    _, environment = started("0.0.0.0")
    warned = "whoever reaches port 0 of this machine reads the lake; --token asks them for one"
    assert warned in capsys.readouterr().err and environment[start.TOKEN] == ""
    arguments, environment = started("0.0.0.0", ("lab.example",), wants_token=True)
    told = capsys.readouterr().err
    assert "whoever" not in told and f"?token={environment[start.TOKEN]} " in told and environment[start.ALLOWED] == "lab.example"
    assert environment[start.TOKEN] not in " ".join(arguments)
    monkeypatch.setenv(start.TOKEN, "a token of ours, long")
    _, environment = started("127.0.0.1")
    assert environment[start.TOKEN] == "a token of ours, long" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "names", "token", "words"),
    [
        ("", (), "", "--host '' --port 0: cannot listen there (it is empty)"),
        ("192.0.2.1", (), "", "--host 192.0.2.1 --port 0: cannot listen there"),
        ("a" * 70, (), "", "cannot listen there"),
        ("127.0.0.1", ("http://x",), "", "--allow-host http://x: expected the name of a machine"),
        ("127.0.0.1", ("x:80",), "", "without a port"),
        ("127.0.0.1", (), "short", "PERSONASCOPE_TOKEN holds 5 characters; expected at least 16"),
    ],
)
def test_what_cannot_be_listened_on_or_trusted_is_refused_before_the_server_starts(started, monkeypatch, host, names, token, words):
    monkeypatch.setenv(start.TOKEN, token)
    with pytest.raises(PersonascopeError) as refused:
        started(host, names)
    assert words in str(refused.value)


def test_a_port_that_is_taken_is_one_sentence(started):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(PersonascopeError, match="address already in use"):
            started("127.0.0.1", port=other.getsockname()[1])
