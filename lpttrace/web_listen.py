# SPDX-License-Identifier: GPL-2.0-only
"""An address, and sockets that listen on it."""

from __future__ import annotations

import os
import socket

from lpttrace.errors import LpttraceError, UsageError
from lpttrace.notify import received_listeners

__all__ = ["address_of", "listen_on", "parse_listen"]

# The kernel keeps those who come in a burst here until we accept them; net.core.somaxconn caps it.
_BACKLOG = 4096


def parse_listen(text: str) -> tuple[str, int]:
    """127.0.0.1:9753, [::1]:9753, :9753 (every address) as host and port.

    Brackets may be around any address, so that one text does for either family.
    """
    host, colon, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not port.isdigit() or int(port) > 65535 or (":" in host and bare == host):
        raise UsageError(
            f"cannot listen on {text!r}: not an address and port; say 127.0.0.1:9753 or [::1]:9753"
        )
    return bare, int(port)


def listen_on(text: str) -> list[socket.socket]:
    """Sockets that listen there and do not block, at least one, or LpttraceError.

    Where systemd listens for us, it is there.
    """
    host, port = parse_listen(text)
    try:
        given = received_listeners()
        for listener in given:
            listener.setblocking(False)
        if given:
            return given
        if not host:
            return [_everywhere(port)]
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return [_listener(socket.socket(family, kind), (str(address[0]), port))]
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise LpttraceError(
            f"cannot listen on {text}: {why}; choose another address with --listen"
        ) from error


def address_of(listener: socket.socket) -> str:
    """As it is written in a URL."""
    name = listener.getsockname()
    if not isinstance(name, tuple):
        return f"unix:{os.fsdecode(name)}:"
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _everywhere(port: int) -> socket.socket:
    # One socket for IPv6 and IPv4, if this kernel has both.
    if not socket.has_dualstack_ipv6():
        return _listener(socket.socket(socket.AF_INET), ("0.0.0.0", port))
    both = socket.socket(socket.AF_INET6)
    both.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    return _listener(both, ("::", port))


def _listener(listener: socket.socket, address: tuple[str, int]) -> socket.socket:
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
