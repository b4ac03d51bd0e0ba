# SPDX-License-Identifier: GPL-2.0-only
"""The workload of the main test: who issues what, in prime numbers, and the names of ids."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

__all__ = ["FUNCTION_IDS", "VCPUS", "VMS", "labvmm_arguments"]

HEADER = Path(__file__).resolve().parents[2] / "bpf" / "lpttrace_abi.h"

VMS = (
    "vcpus=1,name=one,lpt=try,pv-freq=100000000",
    "vcpus=2,name=two",
    "vcpus=4,name=four,lpt=try,pv-freq=25000000",
)
VCPUS = (1, 2, 4)

_HYPERCALLS = (
    "hvc:0x84000000",
    "hvc:0x80000000",
    "hvc:0x80000001:0x80008000",
    "hvc:0x84000006",
    "hvc:0xc5000020:0xc5000021",
    "hvc:0x8600ff01",
)
_ACCESSES = tuple(
    f"{way}:cntp_{register}_el0"
    for register in ("ctl", "cval", "tval")
    for way in ("read", "write")
)


def function_ids() -> dict[int, str]:
    """Labels by SMCCC function id, from the table in the header."""
    pairs = re.findall(r"X\((0x[0-9A-F]{8}), (\w+)\)", HEADER.read_text())
    return {int(number, 16): name.lower() for number, name in pairs}


FUNCTION_IDS = function_ids()


def _primes(start: int) -> Iterator[int]:
    number = start
    while True:
        if all(number % divisor for divisor in range(2, int(number**0.5) + 1)):
            yield number
        number += 1


def labvmm_arguments() -> list[str]:
    """Seven vCPUs, twelve kinds of trap each, every count a prime of its own; 100,000 in all."""
    counts = _primes(1013)
    arguments = [word for vm in VMS for word in ("--vm", vm)]
    for vm, vcpus in enumerate(VCPUS):
        for vcpu in range(vcpus):
            ops = (f"{op}={next(counts)}" for op in (*_HYPERCALLS, *_ACCESSES))
            arguments += ["--ops", f"{vm}.{vcpu}:{','.join(ops)}"]
    return [*arguments, "--spin", "300"]
