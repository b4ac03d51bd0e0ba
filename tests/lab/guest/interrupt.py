# SPDX-License-Identifier: GPL-2.0-only
"""Runs in the lab's machine: Ctrl-C at many moments, and what is left attached after each.

Prints a list of {"after": seconds, "status", "stderr", "kprobes", "programs"} as JSON. Standard
library only.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = (
    ["lpttrace", "top", "--batch", "--interval", "0.5"],
    ["lpttrace", "serve"],
)
# From our first line to the middle of the work; how long attaching takes is measured first.
MOMENTS = (0.0, 0.02, 0.1, 0.25, 0.4, 0.55, 0.7, 0.85, 1.0, 1.3)


def kprobes() -> int:
    return len(Path("/sys/kernel/debug/kprobes/list").read_text().splitlines())


def raw_tracepoint_programs() -> int:
    """Descriptors of BPF programs in any process: what still holds one keeps it attached."""
    held = 0
    for fd in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            held += os.readlink(fd) in ("anon_inode:bpf-prog", "anon_inode:bpf-raw-tracepoint")
        except OSError:
            continue
    return held


def wait_for_our_code(pid: int) -> None:
    """Until the first thing our code does: give SIGINT its default action.

    Before that, Ctrl-C meets the interpreter while it starts, and it says so itself.
    """
    status = Path(f"/proc/{pid}/status")
    caught_by_python = False
    while True:
        line = next(x for x in status.read_text().splitlines() if x.startswith("SigCgt:"))
        caught = int(line.split()[1], 16) >> (signal.SIGINT - 1) & 1
        if caught_by_python and not caught:
            return
        caught_by_python |= bool(caught)
        time.sleep(0.002)


def interrupt(command: list[str], after: float) -> dict[str, object]:
    # A group of its own, as a shell makes for a job: Ctrl-C goes to all of it.
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for_our_code(process.pid)
    time.sleep(after)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    # The loader may take a moment to die; what it holds goes with it.
    deadline = time.monotonic() + 60
    while (kprobes() or raw_tracepoint_programs()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return {
        "command": command[1],
        "after": after,
        "status": process.returncode,
        "stderr": stderr,
        "kprobes": kprobes(),
        "programs": raw_tracepoint_programs(),
    }


def main() -> None:
    begin = time.monotonic()
    subprocess.run(["lpttrace", "top", "--once", "--interval", "0.1"], check=True, stdout=2)
    whole = time.monotonic() - begin
    report = [interrupt(command, m * whole) for command in COMMANDS for m in MOMENTS]
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    main()
