"""By which names and addresses the app is asked, and which of them it answers to."""

import ipaddress
import re
import socket
from dataclasses import dataclass

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\s:/?#@\[\]\\]+)(:\d{1,5})?", re.IGNORECASE)


@dataclass(frozen=True)
class Door:
    """The address the app listens on, further names it answers to, and the token it wants (empty: none)."""

    address: str
    names: frozenset[str] = frozenset()
    token: str = ""

    def answers_to(self, host: str, reached: str = "") -> bool:
        """Whether a request with this Host may come in; `reached` is the address of this machine on which it arrived."""
        name = host_name(host)
        if not name:
            return False
        if is_loopback(name) or name in self.names:
            return True
        if is_loopback(self.address):
            return False
        return name in (self.address.lower(), reached) or (is_every_address(self.address) and (_address(name) is not None or name in machine_names()))

    def is_own_page(self, origin: str, host: str) -> bool:
        """Whether a page of this origin is the app's own: it was asked by the same name and port, or by a name that was typed for it."""
        netloc = origin.partition("://")[2]
        return netloc.lower() == host.lower() or host_name(netloc) in self.names


def host_name(host: str) -> str:
    """The name or address in a Host header, in small letters, without port and brackets; empty where it is none."""
    found = _HOST.fullmatch(host)
    return found[1].strip("[]").lower().removesuffix(".") if found else ""


def is_loopback(name: str) -> bool:
    """Whether only this machine is reached by that name or address."""
    address = _address(name)
    return name.lower() == "localhost" if address is None else address.is_loopback


def is_every_address(name: str) -> bool:
    """Whether listening there is listening on every address of the machine, as on 0.0.0.0."""
    address = _address(name)
    return address is not None and address.is_unspecified


def machine_names() -> list[str]:
    """The names this machine gives itself, the longest first."""
    name = socket.gethostname().lower()
    return [name, name.partition(".")[0]]


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(name)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
