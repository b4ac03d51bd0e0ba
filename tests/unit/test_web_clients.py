# SPDX-License-Identifier: GPL-2.0-only
"""Clients that are slow, silent, many or malformed, and a scraper among them."""

from __future__ import annotations

import re
import resource
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Optional

import pytest

from .web import Agent, Authority, agent, eventually, trusting

MANY = 10_000
MIB = 1 << 20
HALF_A_HEAD = b"GET /metrics HTTP/1.1\r\nHost: here\r\nX-Slow: "
# What begins a handshake, and no more of it.
HALF_A_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"


@pytest.fixture
def descriptors() -> Iterator[None]:
    """Enough for many connections from this process."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MANY + 1000
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, before[1])))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[0], max(wanted, before[1])))


def connect(running: Agent, said: bytes = b"") -> socket.socket:
    client = socket.create_connection(running.address, timeout=60)
    client.sendall(said)
    return client


def answer(client: socket.socket) -> bytes:
    received = b""
    try:
        while data := client.recv(65536):
            received += data
    except ConnectionError:
        pass
    return received


@contextmanager
def configured(tmp_path: Path, tls: bool) -> Iterator[tuple[Agent, Optional[ssl.SSLContext]]]:
    if not tls:
        with agent() as running:
            yield running, None
        return
    authority = Authority(tmp_path)
    server = authority.issue("server")
    config = tmp_path / "web.yml"
    config.write_text(f"tls_server_config: {{cert_file: {server.cert}, key_file: {server.key}}}\n")
    with agent(config) as running:
        yield running, trusting(authority)


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("half", [False, True], ids=["silent", "half"])
def test_ten_thousand_connections(tmp_path: Path, descriptors: None, tls: bool, half: bool) -> None:
    said = (HALF_A_HELLO if tls else HALF_A_HEAD) if half else b""
    with configured(tmp_path, tls) as (running, context), ExitStack() as held:
        running.scrape(context)
        files, memory = running.cost.num_fds(), running.cost.memory_info().rss
        for number in range(MANY):
            held.enter_context(connect(running, said))
            if number % 1000 == 999:
                running.scrape(context)
        assert running.cost.num_fds() < 160
        assert running.cost.num_threads() == 2
        assert running.cost.memory_info().rss < memory + 16 * MIB
        for _ in range(10):
            running.scrape(context)
        held.close()
        eventually(lambda: running.cost.num_fds() <= files, "descriptors stayed open")
        running.scrape(context)
        assert running.cost.memory_info().rss < memory + 16 * MIB
        assert running.stop() == ""


def test_who_dribbles_has_ten_seconds_in_all(tmp_path: Path) -> None:
    with agent() as running:
        clients = [connect(running, HALF_A_HEAD) for _ in range(3)]
        begin = time.monotonic()
        # A byte at a time, each well within any time-out of a single read.
        with pytest.raises(ConnectionError):
            while time.monotonic() < begin + 120:
                for client in clients:
                    client.sendall(b"x")
                running.scrape()
                time.sleep(0.1)
        assert time.monotonic() - begin > 9
        for client in clients:
            client.close()


def test_who_does_not_read_the_answer_is_in_nobodys_way(tmp_path: Path) -> None:
    request = b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n"
    with agent(size="64x8") as running, ExitStack() as held:
        running.scrape()
        memory = running.cost.memory_info().rss
        for _ in range(100):
            client = socket.socket()
            # The kernel takes next to nothing of the 3 MB for it.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(running.address)
            client.sendall(request)
            held.enter_context(client)
        for _ in range(5):
            running.scrape()
        assert running.cost.num_fds() < 20
        assert running.cost.memory_info().rss < memory + 48 * MIB


def test_who_waits_is_answered_with_one_reading(tmp_path: Path) -> None:
    request = b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n"
    with agent() as running, ExitStack() as held:
        running.scrape()
        running.process.send_signal(signal.SIGSTOP)
        clients = [held.enter_context(connect(running, request)) for _ in range(100)]
        running.process.send_signal(signal.SIGCONT)
        answers = [answer(client) for client in clients]
        found = [re.findall(rb"^lpttrace_read_duration_seconds .+$", a, re.M) for a in answers]
        assert all(len(lines) == 1 for lines in found)
        # They are accepted 16 at a time.
        assert len({lines[0] for lines in found}) <= 8
        # Who comes later is given what is so then.
        one, two = (running.get()[2] for _ in range(2))
        assert scrapes(one) == 101 and scrapes(two) == 102


def scrapes(text: str) -> int:
    (count,) = re.findall(r"^lpttrace_scrapes_total (\d+)$", text, re.M)
    return int(count)


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"", b""),
        (b"hello\r\n\r\n", b"400"),
        (b"GET\r\n\r\n", b"400"),
        (b"GET /metrics\r\n\r\n", b"400"),
        (b"GET /metrics HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /metrics HTTP/x\r\nHost: a\r\n\r\n", b"400"),
        (b"GET /me trics HTTP/1.1\r\nHost: a\r\n\r\n", b"400"),
        (b"GET /\x00\xff HTTP/1.1\r\nHost: a\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost a\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX\x01: b\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: no\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),
        (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 300_000 + b"\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 50_000 + b"\r\n", b"431"),
        (
            b"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n" + b"a" * 500_000,
            b"405",
        ),
        (b"GET /%ff%00%0a HTTP/1.1\r\nHost: a\r\n\r\n", b"404"),
        (b"GET http://a/-/healthy?a=b HTTP/1.1\r\nHost: a\r\n\r\n", b"200"),
        (b"GET /-/healthy HTTP/1.0\r\n\r\n", b"200"),
        (b"GET /-/healthy HTTP/1.1\nHost: a\n\n", b"200"),
        (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", b"404"),
    ],
)
def test_malformed_requests(serving: Agent, said: bytes, status: bytes) -> None:
    with connect(serving, said) as client:
        client.shutdown(socket.SHUT_WR)
        head, _, _ = answer(client).partition(b"\r\n")
    assert head.split(b" ")[1:2] == ([status] if status else [])
    serving.scrape()


@pytest.fixture(scope="module")
def serving() -> Iterator[Agent]:
    """One that survives all of them, and has nothing to say about them."""
    with agent() as running:
        yield running
        assert running.stop() == ""


def test_an_answer_of_http_1_0_ends_with_the_connection(serving: Agent) -> None:
    with connect(serving, b"GET /metrics HTTP/1.0\r\n\r\n") as client:
        head, _, body = answer(client).partition(b"\r\n\r\n")
    assert b"chunked" not in head and body.startswith(b"# HELP ")


def test_who_needs_no_descriptor_gets_none() -> None:
    # With hardly any to be had, connections go, and scrapes do not.
    with agent(limits=(24, 24)) as running, ExitStack() as held:
        for _ in range(100):
            held.enter_context(connect(running))
        running.scrape()
        running.scrape()
        assert running.stop() == ""
