# SPDX-License-Identifier: GPL-2.0-only
"""The part of systemd that holds descriptors of a service between two runs."""

from __future__ import annotations

import array
import fcntl
import os
import socket
import threading
from pathlib import Path

import pytest

from lpttrace import notify
from tests.lab.keeping import number_of_link


class Manager(threading.Thread):
    """Stands where systemd listens, until it is told to stop; stores as systemd does.

    The newest is first, a name may be there twice, and what is too much is dropped without a word.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.stored: list[tuple[str, int]] = []
        self.limit = 64
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._listener.bind(str(path))

    def run(self) -> None:
        with self._listener:
            while True:
                data, ancillary, _, _ = self._listener.recvmsg(4096, socket.CMSG_SPACE(4))
                told = dict(line.split("=", 1) for line in data.decode().splitlines())
                fds = array.array("i", ancillary[0][2]) if ancillary else array.array("i")
                if "STOPPING" in told:
                    return
                self._do(told, list(fds))

    def _do(self, told: dict[str, str], fds: list[int]) -> None:
        if told.get("FDSTOREREMOVE") == "1":
            self.drop(told["FDNAME"])
        elif told.get("FDSTORE") == "1" and len(self.stored) < self.limit:
            self.stored.insert(0, (told["FDNAME"], fds.pop()))
        # That of BARRIER=1 among them.
        for fd in fds:
            os.close(fd)

    def drop(self, unwanted: str) -> None:
        for name, fd in self.stored:
            if name == unwanted:
                os.close(fd)
        self.stored = [one for one in self.stored if one[0] != unwanted]

    def settle(self) -> None:
        """Wait until it has done what it was told; see sd_notify_barrier(3)."""
        ours, theirs = os.pipe()
        notify.notify("BARRIER=1", fds=[theirs])
        os.close(theirs)
        assert os.read(ours, 1) == b""
        os.close(ours)

    def names(self) -> list[str]:
        self.settle()
        return [name for name, _ in self.stored]

    def links(self) -> set[int]:
        self.settle()
        return {number_of_link(fd) for name, fd in self.stored if name.startswith("link_")}

    def pass_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Give everything to this process, as to the next one of the service."""
        names = self.names()
        # What systemd would put at 3 and after is where it is; the function takes any first number.
        first = fcntl.fcntl(0, fcntl.F_DUPFD, 300)
        os.close(first)
        for place, (_, fd) in enumerate(self.stored, first):
            os.dup2(fd, place)
        monkeypatch.setattr(notify, "_FIRST_FD", first)
        for name, value in (
            ("PID", os.getpid()),
            ("FDS", len(names)),
            ("FDNAMES", ":".join(names)),
        ):
            monkeypatch.setenv(f"LISTEN_{name}", str(value))
