# SPDX-License-Identifier: GPL-2.0-only
"""The web configuration files that we hand out."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Callable
from urllib.parse import quote

import pytest
from cryptography import x509

from .web import ROOT, SECRET_HASH, Authority, agent, basic, eventually, trusting

EXAMPLES = sorted((ROOT / "deploy/prometheus").glob("web-config-*.yml"))


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A directory with the examples, and the certificates that they name."""
    authority = Authority(tmp_path, "clients")
    authority.issue("server")
    for example in EXAMPLES:
        shutil.copy(example, tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", [path.name for path in EXAMPLES])
def test_promtool_takes_our_examples(installed: Path, name: str) -> None:
    promtool = shutil.which("promtool", path=f"{ROOT}/build/tools/usr/bin:{os.environ['PATH']}")
    assert promtool, "promtool is missing: make unit gets it"
    command = [promtool, "check", "web-config", str(installed / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "SUCCESS" in done.stderr, done


def test_our_examples_serve(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "clients")
    authority.issue("server")
    client = authority.issue("prometheus")
    for example in EXAMPLES:
        text = example.read_text()
        # With what is a comment there, and with a password that we know.
        text = re.sub(
            r"(?m)^( *)# (?=client_allowed_sans|  - |rate_limit|  interval|  burst)", r"\1", text
        )
        text = text.replace("prometheus.example.org", "localhost")
        text = re.sub(r"\$2y\S+", lambda _: SECRET_HASH, text)
        (tmp_path / example.name).write_text(text)
        assert "# client_allowed" not in text and "# rate" not in text
        with agent(tmp_path / example.name) as running:
            context = trusting(authority, client)
            headers = basic("prometheus", "secret")
            assert running.get(context=context, headers=headers)[0] == 200


SCRAPE = """
global: {scrape_interval: 1s}
scrape_configs:
- job_name: lpttrace
  scheme: https
  static_configs: [{targets: ['%s:%d']}]
  basic_auth: {username: prometheus, password: secret}
  tls_config: {ca_file: clients.crt, cert_file: prometheus.crt, key_file: prometheus.key}
"""


def test_a_real_prometheus(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "clients")
    authority.issue("server")
    authority.issue("prometheus", x509.DNSName("prometheus.example.org"))
    both = "".join(example.read_text() for example in EXAMPLES)
    assert both.count("tls_server_config:") == 2
    users = re.search(r"(?s)basic_auth_users:.*", re.sub(r"\$2y\S+", lambda _: SECRET_HASH, both))
    assert users
    config = tmp_path / "web.yml"
    config.write_text(EXAMPLES[0].read_text() + users[0])
    with agent(config) as running:
        (tmp_path / "prometheus.yml").write_text(SCRAPE % running.address)
        with prometheus(tmp_path) as ask:
            eventually(lambda: ask("up") == ["1"], "Prometheus cannot scrape it")
            assert len(ask("count by (vm) (lpttrace_timer_traps_total)")) == 4


@contextmanager
def prometheus(directory: Path) -> Iterator[Callable[[str], list[str]]]:
    """Debian's, with the configuration of that directory; values by query."""
    binary = shutil.which("prometheus", path=f"{ROOT}/build/tools/usr/bin:{os.environ['PATH']}")
    assert binary, "prometheus is missing: make unit gets it"
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [binary, "--config.file", "prometheus.yml", "--web.listen-address", address]
    log = (directory / "prometheus.log").open("w")
    with log, subprocess.Popen(command, cwd=directory, stdout=log, stderr=log) as process:

        def ask(query: str) -> list[str]:
            url = f"http://{address}/api/v1/query?query={quote(query)}"
            try:
                with urllib.request.urlopen(url, timeout=60) as answer:
                    found = json.load(answer)["data"]["result"]
            except OSError:
                return []
            return [series["value"][1] for series in found]

        try:
            yield ask
        finally:
            process.kill()
