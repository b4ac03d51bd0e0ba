# SPDX-License-Identifier: GPL-2.0-only
"""The work that is traced: one vCPU whose guest does nothing but trap."""

from __future__ import annotations

import os
import subprocess
import time

# Under -icount shift=1.
NS_PER_INSTRUCTION = 2
# The vCPU has this CPU for itself; everything else of the measurement is on the other one.
VCPU_CPU, OTHER_CPU = 1, 0
HYPERCALLS = ("0x84000000", "0x80000000", "0x84000006", "0xc5000020:0xc5000021")
TIMER_ACCESSES = ("read:cntp_ctl_el0", "write:cntp_ctl_el0", "write:cntp_cval_el0")
TRAPS_PER_LOOP = len(HYPERCALLS) + len(TIMER_ACCESSES)
# Two runs are subtracted, so that what a VM costs to make and to end cancels.
FEW_LOOPS, MANY_LOOPS, WARM_UP_LOOPS = 1000, 11000, 100
TRAPS_PER_SAMPLE = (FEW_LOOPS + MANY_LOOPS) * TRAPS_PER_LOOP


def command(counts: list[int]) -> list[str]:
    """labvmm's argv, with a count for each hypercall and then for each timer access."""
    names = [f"hvc:{function}" for function in HYPERCALLS] + list(TIMER_ACCESSES)
    ops = ",".join(f"{name}={count}" for name, count in zip(names, counts, strict=True))
    return ["taskset", "-c", str(VCPU_CPU), "labvmm", "--vm", "vcpus=1", "--ops", f"0.0:{ops}"]


def sample() -> float:
    """Instructions per trap of one pair of runs, with whatever is attached at the moment."""
    few, many = _run(FEW_LOOPS), _run(MANY_LOOPS)
    return (many - few) / NS_PER_INSTRUCTION / ((MANY_LOOPS - FEW_LOOPS) * TRAPS_PER_LOOP)


def warm_up() -> None:
    _run(WARM_UP_LOOPS)


def _run(loops: int) -> int:
    argv = command([loops] * TRAPS_PER_LOOP)
    with open(os.devnull, "wb") as nowhere:
        begin = time.monotonic_ns()
        subprocess.run(argv, check=True, stdout=nowhere)
        return time.monotonic_ns() - begin
