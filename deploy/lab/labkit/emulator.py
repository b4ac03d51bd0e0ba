# SPDX-License-Identifier: GPL-2.0-only
"""A QEMU process with its ports and its temporary files, all gone when we are."""

from __future__ import annotations

import socket
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from labkit import qemu
from labkit.errors import LabError

CONSOLE_LINES = 40


class Emulator:
    """One machine from power on to power off. To be used with `with`.

    `ports` are our ends of the virtio ports, by name; each is at its end once QEMU is.
    """

    def __init__(self, machine: qemu.Machine, names: Sequence[str]) -> None:
        self._machine = machine
        self._names = names
        self.ports: dict[str, socket.socket] = {}

    def __enter__(self) -> Emulator:
        with ExitStack() as stack:
            made = tempfile.TemporaryDirectory(prefix="lpttrace-lab.")
            self.directory = Path(stack.enter_context(made))
            self.payload = self.directory / "payload.tar"
            self._console = self.directory / "console"
            self._errors = self.directory / "qemu.stderr"
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *unused: object) -> None:
        self._stack.close()

    def start(self) -> None:
        """Powers the machine on; `payload` must have been written."""
        with ExitStack() as theirs:
            ends = {name: theirs.enter_context(self._port(name)) for name in self._names}
            inherited = {name: end.fileno() for name, end in ends.items()}
            run = qemu.Run(self.payload, self._console, inherited)
            self._spawn(qemu.command(self._machine, run), tuple(inherited.values()))

    def console(self) -> str:
        """What the kernel has written on its console so far."""
        if not self._console.exists():
            return ""
        return self._console.read_text(encoding="utf-8", errors="replace").replace("\r", "")

    def ending(self) -> str:
        """How QEMU ended, for people; raises LabError if it refused its command line."""
        try:
            status = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return "QEMU closed its ports"
        errors = self._errors.read_text(encoding="utf-8", errors="replace").strip()
        if status > 0:
            raise LabError(f"{qemu.BINARY} failed with status {status}: {errors}")
        return f"signal {-status} ended QEMU" if status < 0 else "it powered off or panicked"

    def _port(self, name: str) -> socket.socket:
        """Makes a port; returns QEMU's end of it."""
        ours, theirs = socket.socketpair()
        self.ports[name] = self._stack.enter_context(ours)
        return theirs

    def _spawn(self, command: Sequence[str], inherited: tuple[int, ...]) -> None:
        with self._errors.open("wb") as errors:
            try:
                # In a session of its own, for a Ctrl-C is for us to act on; killed by the kernel
                # if we are killed without a chance to.
                self._process = subprocess.Popen(
                    ["setpriv", "--pdeathsig", "KILL", *command],
                    stdin=subprocess.DEVNULL,
                    stdout=errors,
                    stderr=errors,
                    pass_fds=inherited,
                    start_new_session=True,
                )
            except FileNotFoundError as error:
                raise LabError(f"{error.filename}: not found; run `lab setup` as root") from error
        self._stack.callback(_kill, self._process)


def tail(console: str) -> str:
    """The last lines of a console log, indented."""
    return "".join(f"    {line}\n" for line in console.splitlines()[-CONSOLE_LINES:])


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
