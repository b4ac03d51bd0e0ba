# SPDX-License-Identifier: GPL-2.0-only
"""What the agent itself costs on this machine, with numbers made up for 512 vCPUs."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
from lpttrace.synthetic import SyntheticSource

SIZE, VCPUS = "64x8", 512
SCRAPES = 50
READINGS = 15
TOP_WARM_UP_SECONDS, TOP_SECONDS = 5.0, 40.0
TERMINAL = (40, 120)
MIB = 2**20


@dataclass(frozen=True)
class AgentCost:
    """Of `lpttrace serve` and `lpttrace top`, each of 512 vCPUs; serve_mib is the most it had,
    made_up_ms what the source takes to make up the numbers of a second."""

    serve_mib: float
    scrape_ms: float
    exposition_kib: float
    top_percent: float
    top_mib: float
    made_up_ms: float


def measure() -> AgentCost:
    """Takes about a minute."""
    with serving() as (process, url):
        exposition = _scrape(url)
        begin, resident = cpu_seconds(process), []
        for _ in range(SCRAPES):
            _scrape(url)
            resident.append(process.memory_info().rss / MIB)
        scrape_ms = (cpu_seconds(process) - begin) / SCRAPES * 1000
    top_percent, top_mib = _top()
    serve = max(resident), scrape_ms, len(exposition) / 1024
    return AgentCost(*serve, top_percent, top_mib, _made_up_ms())


def _made_up_ms() -> float:
    vms, vcpus = map(int, SIZE.split("x"))
    with SyntheticSource(vms, vcpus) as source:
        source.read()
        begin = time.process_time()
        for _ in range(READINGS):
            time.sleep(1)
            source.read()
        return (time.process_time() - begin) / READINGS * 1000


@contextmanager
def serving(size: str = SIZE) -> Iterator[tuple[psutil.Process, str]]:
    """`lpttrace serve` on a free port, and where to scrape it."""
    argv = ["serve", "--synthetic", size, "--listen", "127.0.0.1:0"]
    with _started(argv) as child:
        assert child.stderr is not None
        said = child.stderr.readline().decode()
        yield psutil.Process(child.pid), said.split("listening on ", 1)[1].strip()


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _scrape(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return bytes(answer.read())


def _top() -> tuple[float, float]:
    """CPU in percent of one core and resident MiB of the full screen at a frame a second."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", *TERMINAL, 0, 0))
    with _started(["top", "--synthetic", SIZE], its) as child:
        os.close(its)
        process = psutil.Process(child.pid)
        _drain(ours, TOP_WARM_UP_SECONDS)
        begin, used = time.monotonic(), cpu_seconds(process)
        _drain(ours, TOP_SECONDS)
        percent = (cpu_seconds(process) - used) / (time.monotonic() - begin) * 100
        mib = process.memory_info().rss / MIB
    os.close(ours)
    return percent, mib


def _drain(terminal: int, seconds: float) -> None:
    """Reads what the screen is sent, as a terminal does."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if select.select([terminal], [], [], left)[0]:
            os.read(terminal, 65536)


@contextmanager
def _started(
    arguments: list[str], terminal: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """lpttrace with its three streams on a terminal, or with a pipe for stderr."""
    argv = [sys.executable, "-m", "lpttrace", *arguments]
    errors = subprocess.PIPE if terminal is None else terminal
    environment = {**os.environ, "TERM": "xterm-256color"}
    with subprocess.Popen(
        argv,
        stdin=terminal,
        stdout=terminal,
        stderr=errors,
        env=environment,
        start_new_session=True,
    ) as child:
        try:
            yield child
        finally:
            child.terminate()
            child.wait(30)
