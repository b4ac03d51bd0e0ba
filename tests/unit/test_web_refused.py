# SPDX-License-Identifier: GPL-2.0-only
"""Who is refused is counted, by reason."""

from __future__ import annotations

import re
import socket
import ssl
from contextlib import ExitStack
from pathlib import Path
from typing import Optional

import pytest

from lpttrace.catalog import HTTP_REFUSALS

from .web import SECRET_HASH, Agent, Authority, agent, basic, eventually, trusting


def refused(
    running: Agent, user: str = "", context: Optional[ssl.SSLContext] = None
) -> dict[str, int]:
    """Those of the reasons that there were."""
    _, _, text = running.get(context=context, headers=basic(user, "secret") if user else None)
    found = re.findall(r'^lpttrace_http_refused_total{reason="(\w+)"} (\d+)$', text, re.MULTILINE)
    assert [reason for reason, _ in found] == list(HTTP_REFUSALS)
    return {reason: int(count) for reason, count in found if count != "0"}


def test_nobody() -> None:
    with agent() as running:
        assert refused(running) == {}
        running.get("/-/healthy")
        running.get("/nothing/here")
        assert refused(running) == {}


def test_no_http() -> None:
    with agent() as running, socket.create_connection(running.address) as client:
        client.sendall(b"hello\r\n\r\n")
        assert b"400" in client.recv(4096)
        assert refused(running) == {"malformed": 1}


def test_no_room_and_no_question() -> None:
    with agent() as running, ExitStack() as held:
        for _ in range(130):
            held.enter_context(socket.create_connection(running.address))
        # The scrape itself needs a place, too.
        assert refused(running)["room"] >= 3
        eventually(lambda: sum(refused(running).values()) == 130, "some are still asking")
        assert refused(running)["slow"] > 100


def test_passwords_and_a_rate(tmp_path: Path) -> None:
    config = tmp_path / "web.yml"
    users = f"basic_auth_users: {{prometheus: {SECRET_HASH}}}\n"
    config.write_text(users)
    with agent(config) as running:
        running.get()
        running.get(headers=basic("prometheus", "wrong"))
        assert refused(running, "prometheus") == {"password": 2}
        config.write_text(f"{users}rate_limit: {{interval: 1h, burst: 2}}\n")
        right = basic("prometheus", "secret")
        statuses = [running.get("/-/healthy", headers=right)[0] for _ in range(4)]
        assert statuses == [200, 200, 429, 429]
        config.write_text(users)
        assert refused(running, "prometheus") == {"password": 2, "rate": 2}


def test_tls(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path), Authority(tmp_path, "other")
    server = authority.issue("server")
    config = tmp_path / "web.yml"
    config.write_text(f"tls_server_config: {{cert_file: {server.cert}, key_file: {server.key}}}\n")
    with agent(config) as running:
        with socket.create_connection(running.address, timeout=60) as probe:
            # As those who only look whether somebody listens: no refusal.
            probe.shutdown(socket.SHUT_WR)
            assert probe.recv(1) == b""
        assert running.get()[0] == 400
        with pytest.raises(ssl.SSLError):
            running.get(context=trusting(other))
        assert refused(running, context=trusting(authority)) == {"tls": 2}
