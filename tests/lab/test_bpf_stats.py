# SPDX-License-Identifier: GPL-2.0-only
"""What `lpttrace serve --bpf-stats` tells of its programs on this machine's kernel, and that the
kernel's switch is off again however it ends."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from lpttrace.abi import ABI_VERSION
from lpttrace.attach import Attachment
from lpttrace.errors import LpttraceError
from lpttrace.host import probe_host
from lpttrace.live_programs import ProgramClock
from lpttrace.objects import program_runs, start_run_statistics
from lpttrace.plan import Plan, make_plan, symbols_wanted

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = "on_kvm_userspace_exit"

# linux/bpf.h, and asm/unistd.h of the machines the tests run on.
PROG_TEST_RUN, PROG_GET_FD_BY_ID = 10, 13
SYSCALL = {"aarch64": 280, "x86_64": 321}[platform.machine()]

# The whole command, but for the check that this is an arm64 host.
SERVE = """
from lpttrace import live
live.check_host = lambda facts: None
from lpttrace.cli import main
main()
"""

libc = ctypes.CDLL(None, use_errno=True)


class TestRun(ctypes.Structure):
    """union bpf_attr for BPF_PROG_TEST_RUN, as far as raw tracepoints need it."""

    __test__ = False
    _fields_ = [
        ("prog_fd", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("sizes", ctypes.c_uint32 * 2),
        ("data", ctypes.c_uint64 * 2),
        ("repeat", ctypes.c_uint32),
        ("duration", ctypes.c_uint32),
        ("ctx_size_in", ctypes.c_uint32),
        ("ctx_size_out", ctypes.c_uint32),
        ("ctx_in", ctypes.c_uint64),
        ("ctx_out", ctypes.c_uint64),
        ("flags", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
    ]


class GetFd(ctypes.Structure):
    """union bpf_attr for BPF_PROG_GET_FD_BY_ID."""

    _fields_ = [("id", ctypes.c_uint32), ("next", ctypes.c_uint32), ("flags", ctypes.c_uint32)]


def bpf(command: int, attr: ctypes.Structure) -> int:
    result = libc.syscall(SYSCALL, command, ctypes.byref(attr), ctypes.sizeof(attr))
    assert result >= 0, os.strerror(ctypes.get_errno())
    return int(result)


def run_program(fd: int, times: int) -> None:
    """Has the kernel run a program of a raw tracepoint whose arguments are all 0."""
    context = (ctypes.c_uint64 * 12)()
    attr = TestRun(prog_fd=fd, ctx_in=ctypes.addressof(context), ctx_size_in=ctypes.sizeof(context))
    for _ in range(times):
        bpf(PROG_TEST_RUN, attr)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan(probe_host(symbols_wanted("kvm_update_lpt_time")), max_vcpus=4)


@pytest.fixture(scope="module")
def attached(plan: Plan) -> Iterator[Attachment]:
    """Ours, beside that of the agent under test."""
    with Attachment(plan) as attachment:
        yield attachment


def counted(program: int) -> int:
    """How many of ten runs the kernel counts: all or none, as the switch is."""
    before = program_runs(program)[0]
    run_program(program, 10)
    return program_runs(program)[0] - before


@contextmanager
def serving(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The agent, and where it is scraped."""
    argv = [sys.executable, "-c", SERVE, "serve", "--no-keep", "--listen", "127.0.0.1:0", *options]
    with subprocess.Popen(argv, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            said = iter(process.stderr.readline, "")
            url = next(line.split()[-1] for line in said if line.startswith("listening on"))
            yield process, url
        finally:
            process.kill()


def scrape(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return str(answer.read().decode())


def value(text: str, metric: str) -> float:
    found = re.search(rf'^{metric}{{program="{PROGRAM}"}} (\S+)$', text, re.M)
    assert found, f"no {metric}"
    return float(found[1])


def programs_of(pid: int) -> dict[str, dict[str, str]]:
    """What /proc tells of the BPF programs that a process holds, by id."""
    found: dict[str, dict[str, str]] = {}
    for entry in Path(f"/proc/{pid}/fdinfo").iterdir():
        # Of this process, one is that of the directory itself.
        with suppress(FileNotFoundError):
            told = dict(re.findall(r"^(\w+):\s*(.*)$", entry.read_text(), re.M))
            if "run_cnt" in told:
                found[told["prog_id"]] = told
    return found


def test_programs_come_with_the_attachment(attached: Attachment) -> None:
    names = {o.probe.program for o in attached.outcomes if o.attached}
    assert set(attached.programs) == names >= {"on_kvm_entry", PROGRAM}
    assert attached.bcc
    mine = programs_of(os.getpid())
    assert len(mine) >= len(names)
    assert all(program_runs(fd) == (0, 0) for fd in attached.programs.values())


def test_runs_are_counted_while_the_clock_is_held(attached: Attachment) -> None:
    program = attached.programs[PROGRAM]
    assert counted(program) == 0, "somebody else on this machine has BPF statistics on"
    clock = ProgramClock(attached.programs)
    runs, ns = program_runs(program)
    assert counted(program) == 10
    told = {one.program: one for one in clock.read()}
    assert set(told) == set(attached.programs)
    assert (told[PROGRAM].runs, told["on_kvm_entry"].runs) == (runs + 10, 0)
    assert told[PROGRAM].ns == program_runs(program)[1] > ns
    clock.close()
    clock.close()
    assert counted(program) == 0


def test_two_may_hold_the_switch(attached: Attachment) -> None:
    program = attached.programs[PROGRAM]
    first, second = start_run_statistics(), start_run_statistics()
    os.close(first)
    assert counted(program) == 10
    os.close(second)
    assert counted(program) == 0


def test_the_agent_tells_what_the_kernel_counted() -> None:
    with serving("--bpf-stats") as (process, url):
        theirs = programs_of(process.pid)
        before = scrape(url)
        assert value(before, "lpttrace_bpf_program_runs_total") == 0
        for number in theirs:
            fd = bpf(PROG_GET_FD_BY_ID, GetFd(int(number)))
            run_program_if_it_can(fd)
            os.close(fd)
        text = scrape(url)
        # Nothing runs them but this test: there is no guest.
        kernel = programs_of(process.pid)
        told = re.findall(r"^lpttrace_bpf_program_runs_total{.*} (\d+)$", text, re.M)
        assert sorted(told) == sorted(told_by["run_cnt"] for told_by in kernel.values())
        assert value(text, "lpttrace_bpf_program_runs_total") == 7
        seconds = re.findall(r"^lpttrace_bpf_program_run_seconds_total{.*} (\S+)$", text, re.M)
        ns = sorted(int(told_by["run_time_ns"]) for told_by in kernel.values())
        assert sorted(round(float(one) * 1e9) for one in seconds) == ns and ns[-1] > 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def run_program_if_it_can(fd: int) -> None:
    """Kprobes' programs cannot be run like that."""
    try:
        run_program(fd, 7)
    except AssertionError as error:
        assert "not supported" in str(error)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGABRT])
def test_the_switch_is_off_however_the_agent_ends(
    attached: Attachment, end: signal.Signals
) -> None:
    program = attached.programs[PROGRAM]
    assert counted(program) == 0, "somebody else on this machine has BPF statistics on"
    with serving("--bpf-stats") as (process, _):
        assert counted(program) == 10
        process.send_signal(end)
        process.wait(30)
    assert counted(program) == 0


def test_the_switch_is_not_touched_unless_asked(attached: Attachment) -> None:
    with serving() as (_, url):
        assert counted(attached.programs[PROGRAM]) == 0
        text = scrape(url)
    assert not re.search(r"^lpttrace_bpf_program", text, re.M)
    assert re.search(r'^lpttrace_vcpu_slots{state="free"} 512$', text, re.M)
    assert re.search(r'^lpttrace_vm_records{state="used"} 0$', text, re.M)
    build = rf'^lpttrace_build_info{{bcc_version="[^"]+",layout_version="{ABI_VERSION}"'
    assert re.search(build, text, re.M)


def test_what_is_no_program_is_an_error(attached: Attachment) -> None:
    with pytest.raises(LpttraceError, match="cannot ask about a BPF program: .*descriptor"):
        program_runs(-1)
    with pytest.raises(LpttraceError, match="cannot ask about a BPF program: invalid argument"):
        program_runs(0)
