# SPDX-License-Identifier: GPL-2.0-only
"""Running one COMMAND in a machine: its output passed on, its exit status brought back."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from types import FrameType

from labkit import qemu, terminal
from labkit.emulator import Emulator
from labkit.errors import LostMachine
from labkit.streams import Control, Stream

CHUNK = 1 << 16
PIPED = {qemu.OUTPUT: 1, qemu.ERRORS: 2}
ON_TERMINAL = {qemu.TERMINAL: 1}


@dataclass(frozen=True)
class Outcome:
    """COMMAND's exit status (128 + N if signal N ended it) and the seconds until it started."""

    status: int
    boot_seconds: float


def ports(on_terminal: bool) -> tuple[str, ...]:
    """The virtio ports that a session uses."""
    return (qemu.CONTROL, *(ON_TERMINAL if on_terminal else PIPED))


class Session:
    """The conversation with a started machine, until COMMAND has ended."""

    def __init__(
        self, emulator: Emulator, mark: bytes, on_terminal: bool, timeout: float | None
    ) -> None:
        self._emulator = emulator
        self._timeout = timeout
        self._on_terminal = on_terminal
        self._control = Control()
        self._targets = ON_TERMINAL if on_terminal else PIPED
        self._streams = {name: Stream(mark) for name in self._targets}
        self._escapes = terminal.EscapeCounter()
        self._boot_seconds = float("nan")

    def run(self) -> Outcome:
        """Waits for COMMAND's end; raises LostMachine if its status never comes."""
        self._start = time.monotonic()
        with selectors.DefaultSelector() as selector:
            self._selector = selector
            for name, port in self._emulator.ports.items():
                selector.register(port, selectors.EVENT_READ, name)
            with self._keyboard() if self._on_terminal else nullcontext():
                while not self._done():
                    self._wait()
        assert self._control.status is not None
        return Outcome(self._control.status, self._boot_seconds)

    def _done(self) -> bool:
        ended = all(stream.ended for stream in self._streams.values())
        return ended and self._control.status is not None

    def _wait(self) -> None:
        left = None
        if self._timeout is not None:
            left = self._start + self._timeout - time.monotonic()
            if left <= 0:
                raise self._lost(f"COMMAND did not end within {self._timeout:g} s")
        for key, _events in self._selector.select(left):
            self._read(key)

    def _read(self, key: selectors.SelectorKey) -> None:
        if not isinstance(key.fileobj, socket.socket):
            self._type(os.read(sys.stdin.fileno(), CHUNK))
            return
        data = _receive(key.fileobj)
        if not data:
            self._close(key.fileobj)
        elif key.data == qemu.CONTROL:
            self._listen(data)
        else:
            _write(self._targets[key.data], self._streams[key.data].feed(data))

    def _listen(self, data: bytes) -> None:
        started = self._control.running
        self._control.feed(data)
        if self._control.running and not started:
            self._boot_seconds = time.monotonic() - self._start

    def _close(self, port: socket.socket) -> None:
        """QEMU has closed a port; it is lost when it has closed all."""
        self._selector.unregister(port)
        open_ports = [key for key in self._selector.get_map().values() if key.data]
        if not open_ports and not self._done():
            for name, stream in self._streams.items():
                _write(self._targets[name], stream.rest())
            raise self._lost(self._emulator.ending())

    def _lost(self, why: str) -> LostMachine:
        when = "while COMMAND ran" if self._control.running else "before COMMAND ran"
        return LostMachine(f"the machine was lost {when}: {why}", self._emulator.console())

    def _type(self, keys: bytes) -> None:
        if not keys:
            self._selector.unregister(sys.stdin)
            return
        if self._escapes.feed(keys):
            raise self._lost("Ctrl-] was pressed three times")
        self._emulator.ports[qemu.TERMINAL].sendall(keys)

    @contextmanager
    def _keyboard(self) -> Iterator[None]:
        """Keys go to the machine, and so does every change of the terminal's size."""

        def resized(_number: int, _frame: FrameType | None) -> None:
            rows, columns = terminal.size()
            self._emulator.ports[qemu.CONTROL].sendall(f"size {rows} {columns}\n".encode())

        with terminal.RawTerminal(), _handled(signal.SIGWINCH, resized):
            self._selector.register(sys.stdin, selectors.EVENT_READ)
            yield


@contextmanager
def _handled(
    number: signal.Signals, handler: Callable[[int, FrameType | None], None]
) -> Iterator[None]:
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


def _receive(port: socket.socket) -> bytes:
    try:
        return port.recv(CHUNK)
    except ConnectionResetError:
        return b""


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
