# SPDX-License-Identifier: GPL-2.0-only
"""HTTP: an address, a server on it, and plain answers."""

from __future__ import annotations

import socket
import sys
from socketserver import ThreadingMixIn
from typing import Any, Callable
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from lpttrace.errors import LpttraceError

__all__ = ["Server", "Start", "bind", "parse_listen", "plain"]

_CLIENT_TIMEOUT_SECONDS = 30

Start = Callable[..., Any]
"""start_response of WSGI."""


def parse_listen(text: str) -> tuple[str, int]:
    """127.0.0.1:9753, [::1]:9753, :9753 (every address) as host and port."""
    host, colon, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not port.isdigit() or int(port) > 65535 or (":" in host and bare == host):
        raise LpttraceError(
            f"cannot listen on {text!r}: not an address and port; say 127.0.0.1:9753 or [::1]:9753"
        )
    return bare, int(port)


class _Handler(WSGIRequestHandler):
    timeout = _CLIENT_TIMEOUT_SECONDS

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not logged: a scrape a few seconds would fill the journal."""


class Server(ThreadingMixIn, WSGIServer):
    """A thread for every client, so that one that stalls keeps nobody waiting."""

    daemon_threads = True
    request_queue_size = 32

    def __init__(self, family: socket.AddressFamily, address: tuple[str, int]) -> None:
        self.address_family = family
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind, without the name lookup of HTTPServer.server_bind: it can take seconds."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up or stalls is its own affair."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            print(f"warning: request of {client_address} failed: {error!r}", file=sys.stderr)


def bind(listen: str) -> Server:
    """A server on that address, or LpttraceError."""
    host, port = parse_listen(listen)
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return Server(family, (str(address[0]), port))
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise LpttraceError(
            f"cannot listen on {listen}: {why}; choose another address with --listen"
        ) from error


def plain(start: Start, status: str, text: str, kind: str = "text/plain") -> list[bytes]:
    """An answer of text."""
    body = text.encode()
    headers = [("Content-Type", f"{kind}; charset=utf-8"), ("Content-Length", str(len(body)))]
    start(status, headers)
    return [body]
