# SPDX-License-Identifier: GPL-2.0-only
"""An HTTP server for a few scrapers, on a host where anybody may knock.

One thread and a selector. A client costs a descriptor and a few KiB until it has asked, has ten
seconds in all for that, and when there are too many, the one that has been asking longest goes. So
a client that asks at once gets its answer however many others hold on to their connections.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Callable

import h11

from lpttrace.catalog import HTTP_REFUSALS
from lpttrace.web_connection import WAIT, Connection, Phase
from lpttrace.web_session import Session
from lpttrace.web_settings import Settings, always_open
from lpttrace.web_users import Check, Passwords
from lpttrace.web_wsgi import App

__all__ = ["Server"]

_MOST_CLIENTS = 128
# While one is read slowly, megabytes are kept to go on from.
_MOST_ANSWERS = 4
_MOST_ACCEPTED_AT_ONCE = 16
_LOOK_SECONDS = 0.5
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_SHORTAGE_SECONDS = 0.05
_QUIET_SECONDS = 60.0


class Server:
    """Serves a WSGI application, in a thread of its own, from start() to stop()."""

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        app: App,
        settings: Callable[[], Settings] = always_open,
        turn: Callable[[], None] = lambda: None,
    ) -> None:
        """Whoever is answered between two calls of turn was there when the first of them was."""
        self._turn = turn
        self.refused = dict.fromkeys(HTTP_REFUSALS, 0)
        self._listeners = listeners
        self._passwords = Passwords()
        self._complain = _Complaints()
        self._session = Session(
            app, settings, self._passwords, self._resume, self._complain, self._refuse
        )
        self._clients: dict[int, Connection] = {}
        # Descriptors are for other things, too, /proc among them.
        self._most_clients = min(_MOST_CLIENTS, os.sysconf("SC_OPEN_MAX") // 4)
        self._compared: deque[tuple[Connection, Check]] = deque()
        self._ending = False
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_writer.setblocking(False)
        self._selector = selectors.DefaultSelector()
        for listener in listeners:
            self._selector.register(listener, selectors.EVENT_READ, partial(self._accept, listener))
        self._selector.register(self._wake_reader, selectors.EVENT_READ, self._woken)
        self._thread = threading.Thread(target=self._run, name="http")

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether somebody answers."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """End all connections, and the thread."""
        self._ending = True
        self._wake()
        self._thread.join()

    def close(self) -> None:
        """Give everything back; after stop(), or instead of start()."""
        self._passwords.close()
        self._selector.close()
        for listener in self._listeners:
            listener.close()
        self._wake_reader.close()
        self._wake_writer.close()

    def _refuse(self, reason: str) -> None:
        self.refused[reason] += 1

    def _run(self) -> None:
        looked = time.monotonic()
        while not self._ending:
            for key, _ in self._selector.select(_LOOK_SECONDS if self._clients else None):
                key.data()
            self._turn()
            if time.monotonic() - looked >= _LOOK_SECONDS:
                self._expire()
                looked = time.monotonic()
        for client in list(self._clients.values()):
            self._close(client)

    def _wake(self) -> None:
        # It may be full, or closed already.
        with suppress(OSError):
            self._wake_writer.send(b"\0")

    def _woken(self) -> None:
        self._wake_reader.recv(4096)
        while self._compared:
            client, check = self._compared.popleft()
            self._passwords.finish(check)
            if not check.abandoned:
                self._advance(client)

    def _resume(self, client: Connection, check: Check) -> None:
        self._compared.append((client, check))
        self._wake()

    def _accept(self, listener: socket.socket) -> None:
        came = []
        for _ in range(_MOST_ACCEPTED_AT_ONCE):
            try:
                sock, address = listener.accept()
            except BlockingIOError:
                break
            except OSError as error:
                self._cannot_accept(error)
                break
            if len(self._clients) >= self._most_clients:
                self._drop_one()
            # Of a Unix socket it is a name, and clients mostly have none.
            peer = address[0] if isinstance(address, tuple) else "this machine"
            client = Connection(sock, str(peer))
            client.steps = self._session.converse(client)
            self._clients[client.fd] = client
            came.append(client)
            if len(self._clients) >= self._most_clients:
                # The next one drops another, but none that has not had its chance to ask.
                break
        self._turn()
        for client in came:
            self._advance(client)

    def _cannot_accept(self, error: OSError) -> None:
        # Without a descriptor left, it would be tried again at once, for ever.
        if error.errno in _SHORTAGES and not self._drop_one():
            time.sleep(_SHORTAGE_SECONDS)

    def _drop_one(self) -> bool:
        # Of the address with the most: one client that opens many is not to push out the others.
        peers = Counter(c.peer for c in self._clients.values() if c.phase is not Phase.ANSWERING)
        if not peers:
            return False
        (busiest, _), *_ = peers.most_common(1)
        waiting = (c for c in self._clients.values() if c.phase is not Phase.ANSWERING)
        # They are in the order in which they came.
        self._refuse("room")
        self._close(next(client for client in waiting if client.peer == busiest))
        return True

    def _advance(self, client: Connection) -> None:
        # Another client's turn may have closed this one.
        if self._clients.get(client.fd) is not client:
            return
        try:
            self._watch(client, next(client.steps))
        except (StopIteration, OSError, h11.ProtocolError):
            self._close(client)
        except Exception as error:
            self._complain("failure", f"answer for {client.peer} broke off: {error!r}")
            self._close(client)

    def _watch(self, client: Connection, wanted: int) -> None:
        watched = client.fd in self._selector.get_map()
        if wanted == WAIT:
            if watched:
                self._selector.unregister(client.fd)
        elif watched:
            self._selector.modify(client.fd, wanted, partial(self._advance, client))
        else:
            self._selector.register(client.fd, wanted, partial(self._advance, client))
        answering = [c for c in self._clients.values() if c.phase is Phase.ANSWERING]
        if len(answering) > _MOST_ANSWERS:
            # The one that has not read for longest.
            self._refuse("room")
            self._close(min(answering, key=lambda c: c.moved))

    def _close(self, client: Connection) -> None:
        del self._clients[client.fd]
        if client.fd in self._selector.get_map():
            self._selector.unregister(client.fd)
        client.close()

    def _expire(self) -> None:
        now = time.monotonic()
        for client in [c for c in self._clients.values() if c.deadline < now]:
            if client.phase is not Phase.LEAVING:
                self._refuse("slow")
            self._close(client)


class _Complaints:
    """Warnings, one of a kind a minute: clients must not fill the journal."""

    def __init__(self) -> None:
        self._said: dict[str, float] = {}

    def __call__(self, kind: str, text: str) -> None:
        now = time.monotonic()
        if now - self._said.get(kind, -_QUIET_SECONDS) >= _QUIET_SECONDS:
            self._said[kind] = now
            print(f"warning: {text}", file=sys.stderr, flush=True)
