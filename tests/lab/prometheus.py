# SPDX-License-Identifier: GPL-2.0-only
"""Agents with made-up VMs and a real Prometheus that scrapes them, each a process of its own."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TextIO

import yaml

from tests.contract.dashboards import PROMETHEUS, REPOSITORY, TOOLS

BIN = Path(sys.executable).parent
AGENT = [str(BIN / "lpttrace"), "serve", "--synthetic", "4x2", "--listen", "127.0.0.1:0"]

# Commands by the cluster the agent is in. To the second the kernel says that it is a 2.6; the third
# has one probe; the fourth sums up over vCPUs.
AGENTS: Mapping[str, Sequence[str]] = {
    "here": AGENT,
    "old": ["setarch", "--uname-2.6", *AGENT],
    "stock": [sys.executable, "-m", "tests.lab.stock_agent"],
    "sums": [*AGENT, "--per-vm"],
}


@contextmanager
def process(command: Sequence[str], stderr: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Ended when the block is left."""
    with stderr.open("wb") as file:
        child = subprocess.Popen(command, stderr=file, stdout=file, cwd=REPOSITORY)
    try:
        yield child
    finally:
        child.terminate()
        child.wait()


def said(child: subprocess.Popen[bytes], file: TextIO, pattern: str) -> str:
    """What matches in the lines that it writes, as soon as it has written it."""
    text = ""
    while True:
        ended = child.poll() is not None
        text += file.read()
        if found := re.search(pattern, text):
            return found[1]
        assert not ended, text
        time.sleep(0.05)


@contextmanager
def agents(directory: Path) -> Iterator[Mapping[str, str]]:
    """Address by cluster."""
    with ExitStack() as stack:
        logs = {cluster: directory / f"{cluster}.log" for cluster in AGENTS}
        started = {c: stack.enter_context(process(AGENTS[c], logs[c])) for c in AGENTS}
        files = {cluster: stack.enter_context(logs[cluster].open()) for cluster in AGENTS}
        yield {c: said(started[c], files[c], r"http://([\d.:]+)/metrics\n") for c in AGENTS}


def configure(directory: Path, addresses: Mapping[str, str], store: str = "") -> Path:
    """A copy of our example that finds these agents, and looks every second; with the URL of a
    store, of that which sends there what is to be kept."""
    shutil.copytree(PROMETHEUS, directory)
    hosts = [{"targets": [to], "labels": {"cluster": name}} for name, to in addresses.items()]
    (directory / "targets" / "lpttrace.yml").write_text(yaml.safe_dump(hosts))
    config = directory / f"prometheus-{'remote-write' if store else 'file-sd'}.yml"
    config.write_text(config.read_text().replace("https://store.example.org", store or "none"))
    for file, often in ((config, 2), (directory / "rules" / "lpttrace-recording.yml", 1)):
        text, count = re.subn(r"(interval: )\w+", r"\g<1>1s", file.read_text())
        assert count == often
        file.write_text(text)
    return config


def free_port() -> int:
    """One that nobody has: Prometheus does not tell which it took."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Prometheus:
    """Its HTTP interface."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, **parameters: str) -> Any:
        """The data of an answer; AssertionError with Prometheus' own words."""
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error

    def query(self, expr: str) -> list[dict[str, Any]]:
        """Series of an instant query."""
        result: list[dict[str, Any]] = self.get("query", query=expr)["result"]
        return result


@contextmanager
def prometheus(directory: Path, config: Path, *options: str) -> Iterator[Prometheus]:
    """One that runs and answers."""
    address = f"127.0.0.1:{free_port()}"
    command = [TOOLS / "prometheus", f"--config.file={config}", "--log.level=info"]
    command += [f"--storage.tsdb.path={directory / 'data'}", f"--web.listen-address={address}"]
    command += options
    log = directory / "prometheus.log"
    with process([str(word) for word in command], log) as child, log.open() as file:
        said(child, file, r"(Server is ready)")
        yield Prometheus(f"http://{address}")
