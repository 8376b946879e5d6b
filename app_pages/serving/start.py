"""Starts the app's server in place of the command that was typed, when there is an address to listen on and a token worth the name."""

import os
import secrets
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from personascope.app_pages.serving.addresses import host_name, is_every_address, is_loopback, machine_names
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.home import HOME

TOKEN = "PERSONASCOPE_TOKEN"  # in the environment, which other users of the machine do not see, unlike what is typed
ALLOWED = "PERSONASCOPE_ALLOW_HOST"
LOOPBACK = "127.0.0.1"
SHORTEST_TOKEN = 16


def serve(lake: Path, host: str, port: int, names: Sequence[str], wants_token: bool) -> None:
    """Becomes the server of the app on `lake`, so that whatever ends the command ends it; does not return.

    Raises PersonascopeError where nobody can listen at that host and port, for a name that is none and for a token that is soon guessed.
    """
    for name in names:
        if host_name(name) != name.lower():
            raise PersonascopeError(f"--allow-host {name}: expected the name of a machine, without a port")
    _try_to_listen(host, port)
    typed = os.environ.get(TOKEN, "")
    if typed and (len(typed) < SHORTEST_TOKEN or not typed.isascii() or not typed.isprintable()):
        raise PersonascopeError(f"{TOKEN} holds {len(typed)} characters; expected at least {SHORTEST_TOKEN}, ASCII, or none and --token, which makes one up")
    token = typed or (secrets.token_urlsafe(24) if wants_token else "")
    ending = f"/?token={token}" if token and not typed else f"/?token= and what {TOKEN} holds" if token else ""
    print(f"personascope on http://{_shown(host)}:{port}{ending} (lake {lake}); ctrl-C stops it", file=sys.stderr)
    if not token and not is_loopback(host):
        print(f"personascope: whoever reaches port {port} of this machine reads the lake; --token asks them for one", file=sys.stderr)
    sys.stderr.flush()
    environment = os.environ | {"PERSONASCOPE_LAKE": str(lake), ALLOWED: " ".join(names), TOKEN: token}
    command = [sys.executable, "-m", "personascope.app_pages.serving.server", host, str(port)]
    os.chdir(HOME)
    os.execve(command[0], command, environment)


def _try_to_listen(host: str, port: int) -> None:
    try:
        if not host:
            raise OSError("it is empty")
        family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        where = f"--host {host or repr(host)} --port {port}"
        raise PersonascopeError(f"{where}: cannot listen there ({reason.lower()}); expected an address of this machine and a free port") from error


def _shown(host: str) -> str:
    """The host as it stands in an address that can be opened."""
    name = machine_names()[0] if is_every_address(host) else host
    return f"[{name}]" if ":" in name else name
