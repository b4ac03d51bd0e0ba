# SPDX-License-Identifier: GPL-2.0-only
"""A connection to a client, in steps.

Methods that may have to wait are generators that yield what for, so one thread can hold hundreds of
clients that say nothing, and the code is still in the order in which things happen.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Generator
from contextlib import suppress
from enum import Enum
from selectors import EVENT_READ, EVENT_WRITE
from typing import Any, Callable, Optional, TypeVar

import h11

__all__ = ["WAIT", "Connection", "Phase", "Steps", "tls_reason"]

_Value = TypeVar("_Value")

Steps = Generator[int, None, _Value]
"""Yields EVENT_READ or EVENT_WRITE of selectors, or WAIT."""

WAIT = 0
"""For something else than the socket; whoever does it says when to go on."""

_MOST_HEAD_BYTES = 16384
_MOST_READ = 4096
_MOST_IGNORED_BYTES = 1 << 20
_TLS_HANDSHAKE = b"\x16"


class Phase(Enum):
    """How far it is, and how many seconds that may take in all, however the client dribbles."""

    ASKING = 10.0
    # It has asked, and waits for us: a comparison may take long where the CPU is taken.
    CHECKING = 120.0
    ANSWERING = 60.0
    LEAVING = 2.0


class Connection:
    """One request and its answer."""

    def __init__(self, sock: socket.socket, peer: str) -> None:
        sock.setblocking(False)
        self.fd = sock.fileno()
        self.peer = peer
        self.steps: Steps[None] = _nothing()
        self._sock = sock
        self._http = h11.Connection(h11.SERVER, _MOST_HEAD_BYTES)
        self.enter(Phase.ASKING)

    def enter(self, phase: Phase) -> None:
        """Begin a phase."""
        self.phase = phase
        self.moved = time.monotonic()
        self.deadline = self.moved + phase.value

    def close(self) -> None:
        """Whatever it was about to do, it does not."""
        self.steps.close()
        self.steps = _nothing()
        self._sock.close()

    def speaks_tls(self) -> Steps[Optional[bool]]:
        """Whether the client begins with a handshake, and not with a request in the clear; None if
        it leaves instead."""
        first = yield from self._when(EVENT_READ, self._sock.recv, 1, socket.MSG_PEEK)
        return first == _TLS_HANDSHAKE if first else None

    def secure(self, context: ssl.SSLContext) -> Steps[Optional[dict[str, Any]]]:
        """The handshake; the client's certificate, if it was verified."""
        secured = context.wrap_socket(self._sock, server_side=True, do_handshake_on_connect=False)
        self._sock = secured
        yield from self._when(EVENT_READ, secured.do_handshake)
        return secured.getpeercert()

    def request(self) -> Steps[Optional[h11.Request]]:
        """What the client asks; None if it leaves instead."""
        while True:
            event = self._http.next_event()
            if isinstance(event, h11.Request):
                return event
            if event is not h11.NEED_DATA:
                return None
            data = yield from self._when(EVENT_READ, self._sock.recv, _MOST_READ)
            self._http.receive_data(data)

    def send(self, event: h11.Event) -> Steps[None]:
        """A part of the answer."""
        left = memoryview(self._http.send(event) or b"")
        while left:
            sent = yield from self._when(EVENT_WRITE, self._sock.send, left)
            self.moved = time.monotonic()
            left = left[sent:]

    def leave(self) -> Steps[None]:
        """Say that this was all, and let the client close.

        Who closes while the client still sends makes the kernel reset the connection, and the
        client may lose the answer over it.
        """
        if isinstance(self._sock, ssl.SSLSocket):
            with suppress(OSError):
                self._sock.unwrap()
        self._sock.shutdown(socket.SHUT_WR)
        ignored = 0
        while ignored < _MOST_IGNORED_BYTES:
            data = yield from self._when(EVENT_READ, self._sock.recv, _MOST_HEAD_BYTES)
            if not data:
                return
            ignored += len(data)

    def _when(self, event: int, call: Callable[..., _Value], *arguments: Any) -> Steps[_Value]:
        while True:
            try:
                return call(*arguments)
            except BlockingIOError:
                yield event
            except ssl.SSLWantReadError:
                yield EVENT_READ
            except ssl.SSLWantWriteError:
                yield EVENT_WRITE


def _nothing() -> Steps[None]:
    yield from ()


def tls_reason(error: Exception) -> str:
    """What OpenSSL found, in words."""
    found = getattr(error, "reason", None)
    return found.lower().replace("_", " ") if found else str(error).lower()
