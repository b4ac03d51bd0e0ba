# SPDX-License-Identifier: GPL-2.0-only
"""`lpttrace serve` as systemd runs it: real processes, a socket in place of systemd's."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from lpttrace.privileges import KEPT

ROOT = Path(__file__).resolve().parents[2]
SERVE = [sys.executable, "-m", "lpttrace", "serve", "--synthetic", "4x2"]


class Agent:
    """One that runs, and where it is scraped."""

    def __init__(self, process: subprocess.Popen[str], said: str) -> None:
        self.process = process
        self.url = said.split("listening on ", 1)[1].strip()

    def scrape(self) -> str:
        with urllib.request.urlopen(self.url, timeout=30) as answer:
            return str(answer.read().decode())

    def names(self) -> set[str]:
        infos = re.findall(r"^lpttrace_vm_info{(.*)} 1$", self.scrape(), re.M)
        return {name for info in infos for name in re.findall(r'(?:^|,)name="([^"]*)"', info)}

    def line(self) -> str:
        assert self.process.stderr
        return self.process.stderr.readline()


@contextmanager
def serving(*options: str, command: Sequence[str] = SERVE, **environment: str) -> Iterator[Agent]:
    argv = [*command, "--listen", "127.0.0.1:0", *options]
    with subprocess.Popen(
        argv,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    ) as process:
        assert process.stderr
        try:
            yield Agent(process, process.stderr.readline())
        finally:
            process.kill()


class Systemd:
    """Hears what is notified."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._socket.settimeout(30)

    def hear(self) -> dict[str, str]:
        message = self._socket.recv(4096).decode()
        return dict(line.split("=", 1) for line in message.splitlines())

    def hear_of(self, name: str) -> dict[str, str]:
        while True:
            told = self.hear()
            if name in told:
                return told

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    listening = Systemd(tmp_path / "notify")
    yield listening
    listening.close()


def test_it_says_that_it_is_ready_alive_and_stopping(systemd: Systemd) -> None:
    with serving(NOTIFY_SOCKET=systemd.path) as agent:
        assert systemd.hear()["READY"] == "1"
        alive = systemd.hear_of("WATCHDOG")
        assert alive == {"WATCHDOG": "1", "STATUS": "4 VMs with 8 vCPUs are counted"}
        # The status is told once, until it changes.
        assert systemd.hear_of("WATCHDOG") == {"WATCHDOG": "1"}
        agent.process.send_signal(signal.SIGTERM)
        assert systemd.hear_of("STOPPING") == {"STOPPING": "1"}
        assert agent.process.wait(30) == 0


def test_a_systemd_that_is_gone_is_no_reason_to_end(tmp_path: Path) -> None:
    with serving(NOTIFY_SOCKET=str(tmp_path / "nobody")) as agent:
        assert "lpttrace_build_info" in agent.scrape()
        assert agent.process.poll() is None


def test_a_file_that_changed_is_read_on_sighup(tmp_path: Path, systemd: Systemd) -> None:
    file = tmp_path / "lpttrace.toml"
    file.write_text('vm = ["synthetic-1", "synthetic-2"]\n')
    with serving("--config", str(file), NOTIFY_SOCKET=systemd.path) as agent:
        assert agent.names() == {"synthetic-1", "synthetic-2"}
        file.write_text('not-vm = ["synthetic-1"]\nper-vcpu = false\nmax-vcpus = 7\n')
        agent.process.send_signal(signal.SIGHUP)
        assert int(systemd.hear_of("RELOADING")["MONOTONIC_USEC"]) > 0
        assert systemd.hear_of("READY")["READY"] == "1"
        assert agent.line() == f"warning: {file}: max-vcpus: takes effect with a restart\n"
        assert agent.line() == f"read {file} again\n"
        assert agent.names() == {"synthetic-0", "synthetic-2", "synthetic-3"}
        assert 'vcpu="' not in agent.scrape()
        file.write_text("vm = 3\n")
        agent.process.send_signal(signal.SIGHUP)
        wrong = f"warning: {file}:1: vm: must be a list of texts that are not empty; continuing"
        assert agent.line().startswith(wrong)
        assert agent.names() == {"synthetic-0", "synthetic-2", "synthetic-3"}


def test_the_command_line_goes_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "lpttrace.toml"
    file.write_text('vm = ["synthetic-1"]\nper-vcpu = false\n')
    with serving("--config", str(file), "--vm", "synthetic-3") as agent:
        assert agent.names() == {"synthetic-3"}
        assert 'vcpu="' not in agent.scrape()
        file.write_text("per-vcpu = true\n")
        agent.process.send_signal(signal.SIGHUP)
        assert agent.line() == f"read {file} again\n"
        assert agent.names() == {"synthetic-3"}
        assert 'vcpu="' in agent.scrape()


def test_sighup_without_a_file_is_told() -> None:
    with serving() as agent:
        agent.process.send_signal(signal.SIGHUP)
        assert agent.line() == "warning: there is no configuration file to read again\n"
        assert "lpttrace_build_info" in agent.scrape()


# Its file of configuration is the first argument.
_WITH_FILE = """
import pathlib, sys
from lpttrace import config
config.CONFIG_FILE = pathlib.Path(sys.argv.pop(1))
from lpttrace.cli import main
main()
"""


def test_a_file_that_was_made_later_is_read_on_sighup(tmp_path: Path) -> None:
    file = tmp_path / "lpttrace.toml"
    command = [sys.executable, "-c", _WITH_FILE, str(file), *SERVE[3:]]
    with serving("--vm", "synthetic-*", command=command) as agent:
        file.write_text('vm = ["nobody"]\nnot-vm = ["synthetic-1"]\nmax-vcpus = 7\n')
        agent.process.send_signal(signal.SIGHUP)
        assert agent.line() == f"warning: {file}: max-vcpus: takes effect with a restart\n"
        assert agent.line() == f"read {file} again\n"
        assert agent.names() == {"synthetic-0", "synthetic-2", "synthetic-3"}
        file.unlink()
        agent.process.send_signal(signal.SIGHUP)
        assert agent.line().endswith(
            "no such file or directory; continuing with what was read before\n"
        )
        assert agent.names() == {"synthetic-0", "synthetic-2", "synthetic-3"}


def test_a_wrong_file_is_no_start(tmp_path: Path) -> None:
    file = tmp_path / "lpttrace.toml"
    file.write_text('listen = "127.0.0.1:0"\nlisten-address = "a"\n')
    argv = [*SERVE, "--config", str(file)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {file}:2: listen-address: unknown key; there are listen")


@pytest.mark.parametrize(
    ("line", "status", "why"),
    [
        ('listen = "nowhere"', 2, "listen: cannot listen on 'nowhere': not an address and port"),
        ('listen = "203.0.113.1:0"', 1, "listen: cannot listen on 203.0.113.1:0: cannot assign"),
        (
            'web-config-file = "/nowhere.yml"',
            2,
            "web-config-file: cannot read the web configuration file /nowhere.yml: no such file",
        ),
    ],
)
def test_what_cannot_be_used_has_its_line(tmp_path: Path, line: str, status: int, why: str) -> None:
    file = tmp_path / "lpttrace.toml"
    file.write_text(f"keep = true\n{line}\n")
    argv = [*SERVE, "--config", str(file)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr.startswith(f"error: {file}:2: {why}")
    assert (done.returncode, done.stderr.count("\n")) == (status, 1)


def test_the_journal_gets_levels(tmp_path: Path) -> None:
    with (tmp_path / "journal").open("w") as journal:
        place = os.fstat(journal.fileno())
        for stream in (f"{place.st_dev}:{place.st_ino}", "1:1"):
            subprocess.run(
                [*SERVE, "--listen", "nowhere"],
                cwd=ROOT,
                stderr=journal,
                check=False,
                env={**os.environ, "JOURNAL_STREAM": stream},
            )
    first, second = (tmp_path / "journal").read_text().splitlines()
    assert first == f"<3>{second}" and second.startswith("error: cannot listen on 'nowhere'")


def status_of(path: Path) -> dict[str, str]:
    lines = (line.split(":", 1) for line in path.read_text().splitlines())
    return {name: value.strip() for name, value in lines}


def test_privileges_are_given_up_by_every_thread() -> None:
    # As root, as CI is: else there is nothing to give up, and still nothing may be left.
    most = sum(1 << number for number in KEPT)
    with serving() as agent:
        agent.scrape()
        threads = list(Path(f"/proc/{agent.process.pid}/task").glob("*/status"))
        assert len(threads) > 1
        for thread in map(status_of, threads):
            for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
                assert int(thread[kind], 16) & ~most == 0, (kind, thread[kind])
            assert thread["NoNewPrivs"] == "1"
            assert thread["CapInh"] == thread["CapAmb"] == "0" * 16
