# SPDX-License-Identifier: GPL-2.0-only
"""Sockets that systemd listens on for the agent, and an agent that cannot answer any more."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from .web import ROOT

# As systemd does it: descriptors from 3 on, and the pid of who is to take them.
_ACTIVATED = """
import fcntl, os, sys
fds = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 100) for fd in sys.argv[1].split(",")]
for place, fd in enumerate(fds, 3):
    os.dup2(fd, place)
names = ":".join(["http"] * len(fds))
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(fds)), LISTEN_FDNAMES=names)
os.execv(sys.executable, [sys.executable, "-m", "lpttrace", "serve", "--synthetic", "1x1"])
"""

# A fault that nobody foresaw, when the first client comes.
_BROKEN = """
import sys
from lpttrace import web_server
from lpttrace.cli import main

def fail(*_):
    raise RuntimeError("unforeseen")

web_server.Server._accept = fail
sys.argv[1:] = ["serve", "--synthetic", "1x1", "--listen", "127.0.0.1:0"]
main()
"""


@contextmanager
def activated(*listeners: socket.socket) -> Iterator[subprocess.Popen[str]]:
    fds = [listener.fileno() for listener in listeners]
    argv = [sys.executable, "-c", _ACTIVATED, ",".join(map(str, fds))]
    with subprocess.Popen(
        argv, cwd=ROOT, pass_fds=fds, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stderr
    return process.stderr.readline()


def asked(family: int, address: object) -> bytes:
    with socket.socket(family) as client:
        client.settimeout(60)
        client.connect(address)  # type: ignore[arg-type]
        client.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: here\r\n\r\n")
        return client.recv(4096)


def test_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "http")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        with activated(listener) as process:
            assert said(process) == f"listening on http://unix:{path}:/metrics\n"
            for _ in range(2):
                assert asked(socket.AF_UNIX, path).startswith(b"HTTP/1.1 200")


def test_two_addresses() -> None:
    with ExitStack() as held:
        four, six = (
            held.enter_context(socket.create_server((host, 0), family=family))
            for host, family in (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6))
        )
        process = held.enter_context(activated(four, six))
        ports = [listener.getsockname()[1] for listener in (four, six)]
        assert said(process) == (
            f"listening on http://127.0.0.1:{ports[0]}/metrics and http://[::1]:{ports[1]}/metrics\n"
        )
        for _ in range(2):
            assert asked(socket.AF_INET, ("127.0.0.1", ports[0])).startswith(b"HTTP/1.1 200")
            assert asked(socket.AF_INET6, ("::1", ports[1])).startswith(b"HTTP/1.1 200")


def test_an_agent_that_cannot_answer_ends(tmp_path: Path) -> None:
    with ExitStack() as held:
        manager = held.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        manager.bind(str(tmp_path / "notify"))
        process = held.enter_context(
            subprocess.Popen(
                [sys.executable, "-c", _BROKEN],
                cwd=ROOT,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")},
            )
        )
        held.callback(process.kill)
        port = int(said(process).rpartition(":")[2].partition("/")[0])
        held.enter_context(socket.create_connection(("127.0.0.1", port)))
        _, text = process.communicate(timeout=60)
        assert "RuntimeError: unforeseen" in text
        assert text.splitlines()[-1].startswith("error: cannot answer scrapes any more")
        assert process.returncode == 1
