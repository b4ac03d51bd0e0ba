# SPDX-License-Identifier: GPL-2.0-only
"""Whether `perf kvm stat` counts the same exits as lpttrace, both attached to the same run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from bench import workload
from bench.background import ToolError
from bench.tools import PerfKvmStat

COUNTS = (1009, 2003, 3001, 4001, 5003, 6007, 7001)
# The ESR's fields of a trapped system register (op0, op2, op1, CRn, CRm), without the general
# register and the direction.
REGISTER = 0x3FFC1E
CRN_SHIFT, TIMER_CRN = 10, 14


@dataclass(frozen=True)
class Check:
    """Exits by who counted them. perf's SYS64 are told apart by its samples of the same run."""

    issued_hypercalls: int
    issued_timer_traps: int
    lpttrace_hypercalls: int
    lpttrace_timer_traps: int
    perf_hvc64: int
    perf_sys64: int
    perf_sys64_no_timer: int

    def faults(self) -> list[str]:
        """What is unequal that must be equal; nothing if all is well."""
        pairs = {
            "perf's HVC64 and lpttrace's hypercalls": (self.perf_hvc64, self.lpttrace_hypercalls),
            "perf's SYS64 and lpttrace's timer traps with the other registers": (
                self.perf_sys64,
                self.lpttrace_timer_traps + self.perf_sys64_no_timer,
            ),
            "issued and lpttrace's hypercalls": (self.issued_hypercalls, self.lpttrace_hypercalls),
            "issued and lpttrace's timer traps": (
                self.issued_timer_traps,
                self.lpttrace_timer_traps,
            ),
        }
        return [f"{what} differ: {a} and {b}" for what, (a, b) in pairs.items() if a != b]


def run() -> dict[str, int]:
    """The counts of one run, by the names of Check."""
    print("bench: perf kvm stat and lpttrace on the same run", file=sys.stderr)
    argv = ["lpttrace", "top", "--once", "--json", "--", *workload.command(list(COUNTS))]
    with PerfKvmStat("-e", "kvm:kvm_handle_sys_reg") as perf:
        frame = first_document(_output(argv))
        perf.process.end()
        report = _output(["perf", "kvm", "-i", str(perf.data), "stat", "report"])
        # It drops what was sampled while a guest ran, unless it is told to look for guests' code.
        fields = ["--guest-code", "--fields", "event,trace"]
        script = _output(["perf", "script", "-i", str(perf.data), *fields])
    issued = sum(COUNTS[: len(workload.HYPERCALLS)])
    exits, others = exit_counts(report), sum(not_timers(script).values())
    # The guest's last call is its own: SYSTEM_OFF.
    ours = Check(
        issued + 1,
        sum(COUNTS) - issued,
        *lpttrace_counts(frame),
        exits["HVC64"],
        exits["SYS64"],
        others,
    )
    return asdict(ours)


def _output(argv: list[str]) -> str:
    """What it writes, on either output: `perf kvm stat report` has its table on stderr."""
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode:
        raise ToolError(f"{' '.join(argv)}: ended with {done.returncode}: {done.stderr}")
    return done.stdout + done.stderr


def first_document(text: str) -> Any:
    """The JSON at the beginning of a text."""
    return json.JSONDecoder().raw_decode(text)[0]


def exit_counts(report: str) -> Mapping[str, int]:
    """Samples of each exit reason in `perf kvm stat report`."""
    rows = re.findall(r"^\s+([A-Z]\w*)\s+(\d+)\s+[\d.]+%", report, re.MULTILINE)
    return Counter({reason: int(count) for reason, count in rows})


def not_timers(script: str) -> Mapping[int, int]:
    """How often each register that is no timer's trapped, by its part of the ESR."""
    syndromes = re.findall(r"kvm_handle_sys_reg:\s+HSR 0x([0-9a-f]+)", script)
    registers = Counter(int(syndrome, 16) & REGISTER for syndrome in syndromes)
    return {r: n for r, n in registers.items() if r >> CRN_SHIFT & 0xF != TIMER_CRN}


def lpttrace_counts(frame: Mapping[str, Any]) -> tuple[int, int]:
    """Hypercalls and timer traps of all vCPUs in a frame of `lpttrace top --json`."""
    vcpus = [vcpu for vm in frame["vms"] for vcpu in vm["vcpus"]]
    hypercalls = sum(row["count"] for vcpu in vcpus for row in vcpu["hypercalls"].values())
    registers = [register for vcpu in vcpus for register in vcpu["timer_traps"].values()]
    traps = sum(row["count"] for register in registers for row in register.values())
    return hypercalls, traps
