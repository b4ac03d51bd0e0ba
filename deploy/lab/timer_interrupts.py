#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""What a timer interrupt costs a Linux guest: lpttrace's counts over the guest's own.

Runs in the lab's machine:

    lab run --icount --smp 1 --add deploy/lab/timer_interrupts.py:/tmp/ -- \\
        python3 /tmp/timer_interrupts.py

Each row of the table is one guest (lablinux), watched by `lpttrace top` from its first sleep to its
last. Of each there is

    INTERRUPTS  what the guest counted itself, and COUNTED, what lpttrace counted of that timer
    TRAPS       of timer registers, per interrupt of the guest's count; at the end by kind
    SERVED      the time that the host took to serve them, in microseconds per interrupt
    DUE         microseconds from deadline to delivery (median) by lpttrace; emulated timers only
    WOKE        how late the guest's sleeper woke (median and 99th percentile) by the guest's clock

With --icount time is instructions, and goes on for all CPUs while QEMU emulates one of them: with
more than one, a trap's time contains what another CPU did meanwhile.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# The guest is let go once everything is attached, and looked at while it still stands.
RELEASE = 'echo >"$0/go" && head -n 1 "$0/report" >"$0/truth"'
HEADINGS = (
    f"{'TIMER':<9}{'LOAD':<6}{'SLEEP us':>8}{'INTERRUPTS':>12}{'COUNTED':>9}{'TRAPS':>7}"
    f"{'SERVED us':>11}{'DUE us':>9}{'WOKE us p50':>13}{'p99':>9}  TRAPS BY KIND"
)


@dataclass(frozen=True)
class Setting:
    """One guest: which timer, what its vCPU does between the sleeps, how long and how many."""

    timer: str
    load: str
    sleep_us: int
    sleeps: int

    def command(self) -> list[str]:
        return [
            *("lablinux", "--start-barrier", "--hold"),
            *("--timer", self.timer, "--load", self.load),
            *("--sleep-us", str(self.sleep_us), "--sleeps", str(self.sleeps)),
        ]


@dataclass(frozen=True)
class Row:
    """What came of it: interrupts by the guest, counted ones and lateness by lpttrace.

    None stands for what lpttrace could not see, or what did not happen.
    """

    setting: Setting
    interrupts: int
    counted: int | None
    traps: Mapping[str, int]
    served_seconds: float
    due_seconds: float | None
    late_ns: Mapping[str, int]

    def text(self) -> str:
        setting, n, due = self.setting, self.interrupts, self.due_seconds
        kinds = ", ".join(f"{kind} {count / n:.2f}" for kind, count in self.traps.items())
        return (
            f"{setting.timer:<9}{setting.load:<6}{setting.sleep_us:>8}{n:>12}"
            f"{'n/a' if self.counted is None else self.counted:>9}"
            f"{sum(self.traps.values()) / n:>7.2f}{self.served_seconds / n * 1e6:>11.1f}"
            f"{'-' if due is None else f'{due * 1e6:.1f}':>9}"
            f"{self.late_ns['p50'] / 1e3:>13.1f}{self.late_ns['p99'] / 1e3:>9.1f}  {kinds or '-'}"
        )


def traps_of(vcpu: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The timer traps of a vCPU in a frame of `top --json`, by register and direction."""
    registers = vcpu["timer_traps"] or {}
    return {
        f"{register.removesuffix('_el0')} {direction}": flow
        for register, ways in registers.items()
        for direction, flow in ways.items()
        if flow["count"]
    }


def row_of(setting: Setting, truth: Mapping[str, Any], frame: Mapping[str, Any]) -> Row:
    tid = truth["vcpus"][0]["tid"]
    (vcpu,) = (vcpu for vm in frame["vms"] for vcpu in vm["vcpus"] if vcpu["tid"] == tid)
    traps, interrupts = traps_of(vcpu), vcpu["timer_interrupts"]
    return Row(
        setting=setting,
        interrupts=truth["guest"]["timer_interrupts"][0],
        counted=interrupts and interrupts.get(setting.timer, {}).get("count", 0),
        traps={kind: flow["count"] for kind, flow in traps.items()},
        served_seconds=sum(flow["served"]["seconds"] for flow in traps.values()),
        due_seconds=(vcpu["lateness"] or {}).get("p50_seconds"),
        late_ns=truth["guest"]["late_ns"],
    )


def wait_for_boot(vmm: subprocess.Popen[str]) -> None:
    assert vmm.stderr
    said = ""
    for line in vmm.stderr:
        if line == "ready\n":
            return
        said += line
    raise SystemExit(f"lablinux ended before its guest had booted:\n{said}")


def watch(directory: Path) -> dict[str, Any]:
    """The frame about the time from the guest's first sleep to its report."""
    command = ["lpttrace", "top", "--once", "--json", "--", "sh", "-c", RELEASE, str(directory)]
    top = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if top.returncode:
        raise SystemExit(f"lpttrace ended with status {top.returncode}")
    frame: dict[str, Any] = json.loads(top.stdout)
    return frame


def warm_up() -> None:
    """Read from the disks what is to run: with --icount the clock races ahead meanwhile."""
    top = ["lpttrace", "top", "--once", "--interval", "0.1"]
    subprocess.run(top, stdout=subprocess.DEVNULL, check=True)


def measure(setting: Setting) -> Row:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for pipe in ("go", "report"):
            os.mkfifo(directory / pipe)
        with (
            (directory / "go").open("r+b", buffering=0) as go,
            (directory / "report").open("r+b", buffering=0) as report,
            subprocess.Popen(
                setting.command(), stdin=go, stdout=report, stderr=subprocess.PIPE, text=True
            ) as vmm,
        ):
            try:
                wait_for_boot(vmm)
                frame = watch(directory)
            finally:
                vmm.terminate()
        return row_of(setting, json.loads((directory / "truth").read_text()), frame)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--timer", nargs="+", default=["physical", "virtual"])
    parser.add_argument("--load", nargs="+", default=["idle", "busy"])
    parser.add_argument("--sleep-us", nargs="+", type=int, default=[1000, 20000])
    parser.add_argument("--sleeps", type=int, default=1000)
    parser.add_argument("--json", action="store_true", help="each row as JSON on a line")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    asked = parse(arguments)
    warm_up()
    if not asked.json:
        print(HEADINGS)
    for chosen in itertools.product(asked.timer, asked.load, asked.sleep_us):
        row = measure(Setting(*chosen, asked.sleeps))
        print(json.dumps(asdict(row)) if asked.json else row.text(), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
