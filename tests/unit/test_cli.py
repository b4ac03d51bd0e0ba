# SPDX-License-Identifier: GPL-2.0-only
"""The command, run as users run it."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lpttrace import __version__, catalog

ROOT = Path(__file__).resolve().parents[2]
COMMAND = (sys.executable, "-m", "lpttrace")
SYNTHETIC = ("--synthetic", "3x2")


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
        **options,
    )


def _heed_sigint() -> None:
    # A test runner may ignore SIGINT, and children would inherit that.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def start(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A command that runs on; it ends with the context at the latest."""
    with subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_heed_sigint,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("command", [(), ("top",), ("serve",), ("doctor",), ("metrics",)])
def test_help_ends_with_examples(command: tuple[str, ...]) -> None:
    result = run(*command, "--help")
    assert result.returncode == 0
    assert result.stdout.startswith("Usage: lpttrace")
    assert result.stdout.partition("Examples:\n")[2].strip().startswith("lpttrace")


def test_help_tells_exit_statuses() -> None:
    text = run("--help").stdout
    for status in (0, 1, 2, 3, 4, 5, 6):
        assert f"    {status}  " in text
    result = run()
    assert (result.returncode, result.stdout) == (2, text)


def test_version() -> None:
    assert run("--version").stdout == f"lpttrace {__version__}\n"


def test_metrics() -> None:
    assert run("metrics", "--markdown").stdout == catalog.markdown()
    assert "lpttrace_hypercalls_total{vm,vcpu,function} counter" in run("metrics").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--bogus",), "error: no such option: --bogus; see 'lpttrace --help'"),
        (("bogus",), "error: no such command 'bogus'; see 'lpttrace --help'"),
        (("top", "--interval", "0"), "error: invalid value for '--interval'"),
        (("top", "--sort", "size"), "error: cannot sort by 'size'; say one of vm, hypercalls"),
        (("top", "--synthetic", "many"), "error: cannot make up VMs: 'many' is not a size"),
        (("serve", *SYNTHETIC, "--listen", "here"), "error: cannot listen on 'here'"),
        (("serve", *SYNTHETIC, "--bpf-stats"), "error: cannot time BPF programs: --synthetic runs"),
    ],
)
def test_usage_errors_take_one_line(arguments: tuple[str, ...], message: str) -> None:
    result = run(*arguments)
    assert result.returncode in (1, 2)
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_once() -> None:
    result = run("top", "--once", *SYNTHETIC, "--interval", "0.2", "--vm", "*-1")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("lpttrace  synthetic  ")
    assert "1 VMs  2 vCPUs" in result.stdout and "1002 synthetic-1" in result.stdout


def test_json_lines() -> None:
    result = run("top", "--json", "--count", "2", *SYNTHETIC, "--interval", "0.2")
    frames = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(frames) == 2
    assert frames[0]["schema"] == 2 and frames[0]["synthetic"] is True
    assert 0.1 < frames[0]["interval_seconds"] < 2
    counts = [
        frame["vms"][0]["vcpus"][0]["timer_traps"]["cntp_ctl_el0"]["write"]["count"]
        for frame in frames
    ]
    assert 0 < counts[0] < counts[1]


def test_once_with_a_command() -> None:
    script = "echo to stdout; sleep 0.6; exit 7"
    result = run("top", "--once", "--json", *SYNTHETIC, "--", "sh", "-c", script)
    assert (result.returncode, result.stderr) == (7, "to stdout\n")
    frame = json.loads(result.stdout)
    assert 0.5 < frame["interval_seconds"] < 10


def test_frames_until_the_command_ends() -> None:
    result = run("top", "--json", *SYNTHETIC, "--interval", "0.2", "sh", "-c", "sleep 0.5")
    assert result.returncode == 0
    # Two whole intervals at least, and the rest of one.
    assert len(result.stdout.splitlines()) >= 3


def test_a_command_that_outlives_the_frames_is_ended() -> None:
    begin = time.monotonic()
    result = run("top", "--count", "1", *SYNTHETIC, "--interval", "0.2", "--", "sleep", "50")
    assert result.returncode == 0
    assert time.monotonic() - begin < 20


@pytest.mark.parametrize(
    ("command", "status", "message"),
    [
        (("nosuch-command",), 127, "error: cannot run 'nosuch-command': no such file"),
        (("/etc/passwd",), 126, "error: cannot run '/etc/passwd': permission denied"),
        (("sh", "-c", "kill -9 $$"), 137, ""),
    ],
)
def test_commands_that_fail(command: tuple[str, ...], status: int, message: str) -> None:
    result = run("top", "--once", *SYNTHETIC, "--", *command)
    assert result.returncode == status
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == bool(message)


@pytest.mark.parametrize("arguments", [("top", "--batch", *SYNTHETIC, "--interval", "0.1")])
def test_a_closed_pipe(arguments: tuple[str, ...]) -> None:
    with start(*arguments) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(30) == 128 + signal.SIGPIPE
        assert process.stderr.read() == ""


@pytest.mark.parametrize("delay", [0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.8])
@pytest.mark.parametrize("command", [("top", "--batch"), ("serve", "--listen", "127.0.0.1:0")])
def test_ctrl_c_at_any_moment(command: tuple[str, ...], delay: float) -> None:
    # Before main() has dealt with SIGINT, the moments are the interpreter's; a dot says so.
    script = (
        "import os, signal, lpttrace.cli as cli; mask = signal.pthread_sigmask\n"
        "def dot(how, what): mask(how, what); how == signal.SIG_UNBLOCK and os.write(1, b'.')\n"
        "signal.pthread_sigmask = dot; cli.main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, *command, *SYNTHETIC],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_heed_sigint,
    )
    with process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.read(1) == "."
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        said = process.stderr.read()
        assert process.wait(30) in (-signal.SIGINT, 130, 0)
    assert "Traceback" not in said and "Exception" not in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve(number: signal.Signals) -> None:
    with start("serve", *SYNTHETIC, "--listen", "127.0.0.1:0") as process:
        assert process.stderr is not None
        ready = process.stderr.readline()
        assert ready.startswith("listening on http://127.0.0.1:")
        url = ready.split()[-1]
        with urllib.request.urlopen(url, timeout=10) as answer:
            text = answer.read().decode()
        assert 'source="synthetic"' in text
        process.send_signal(number)
        assert process.wait(30) == 0
        assert process.stderr.read() == ""


def test_serve_less() -> None:
    chosen = ("--per-vm", "--vm", "synthetic-1", "--vm", "1003", "--not-vm", "*-1", "--created")
    with start("serve", *SYNTHETIC, *chosen, "--listen", "127.0.0.1:0") as process:
        assert process.stderr is not None
        url = process.stderr.readline().split()[-1]
        accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
        names = ("lpttrace_hypercalls_total", "lpttrace_hypercalls_created")
        for query in ("", f"?name[]={names[0]}&name[]={names[1]}"):
            request = urllib.request.Request(url + query, headers=accept)
            with urllib.request.urlopen(request, timeout=10) as answer:
                text = answer.read().decode()
            assert set(re.findall(r'[{,]vm="(\d+)"', text)) == {"1003"}
            assert "vcpu=" not in text
            assert len(re.findall(r"^lpttrace_hypercalls_created{.+} \S+$", text, re.M)) > 3
        with urllib.request.urlopen(f"{url}?name[]=lpttrace_vms_left_out", timeout=10) as answer:
            plain = answer.read().decode()
        assert "lpttrace_vms_left_out 2.0" in plain
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert "_created" not in answer.read().decode()


def test_light_commands_import_nothing_heavy() -> None:
    script = (
        "import sys; from lpttrace import cli_app, cli_run; cli_app.run(['metrics']); "
        "heavy = {'textual', 'rich', 'psutil', 'prometheus_client'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy else 0)"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_serve_imports_what_web_configuration_takes_only_for_it() -> None:
    script = (
        "import sys, lpttrace.cli_run, lpttrace.exporter; "
        "more = {'yaml', 'bcrypt', 'lpttrace.web_policy', 'lpttrace.web_tls'} & set(sys.modules); "
        "sys.exit(str(more) if more else 0)"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")


def on_a_terminal(*arguments: str, keys: bytes) -> tuple[int, str]:
    """Run on a pseudo terminal and press keys when the table is there."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        environment = {**os.environ, "TERM": "xterm-256color", "LINES": "24", "COLUMNS": "80"}
        os.execve(sys.executable, [*COMMAND, *arguments], environment)
    seen, pressed, deadline = b"", False, time.monotonic() + 30
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                seen += os.read(terminal, 65536)
            except OSError:
                break
        if not pressed and b"synthetic-2" in seen:
            os.write(terminal, keys)
            pressed = True
    os.close(terminal)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return status, seen.decode(errors="replace")


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("keys", [b"q", b"\x03"])
def test_full_screen(keys: bytes) -> None:
    status, seen = on_a_terminal("top", *SYNTHETIC, keys=keys)
    assert status == 0
    # It gave the terminal back.
    assert seen.rindex("\x1b[?1049l") > seen.rindex("\x1b[?1049h")
    assert "Traceback" not in seen


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_full_screen_with_a_command() -> None:
    script = "echo from the command; exit 5"
    status, seen = on_a_terminal("top", *SYNTHETIC, "--", "sh", "-c", script, keys=b"q")
    assert status == 5
    assert "from the command" in seen[seen.rindex("\x1b[?1049l") :]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_batch_on_a_terminal() -> None:
    status, seen = on_a_terminal("top", *SYNTHETIC, "--count", "1", "--interval", "0.2", keys=b"")
    assert status == 0
    assert "\x1b" not in seen
    assert "1003 synthetic-2" in seen
