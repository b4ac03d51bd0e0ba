# SPDX-License-Identifier: GPL-2.0-only
"""What the kernel keeps for lpttrace, by attaching it to this machine's own kernel, as root."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lpttrace.attach import Attachment
from lpttrace.host import probe_host
from lpttrace.plan import LPT_SYMBOL, make_plan, symbols_wanted

FEWER_VCPUS, MORE_VCPUS = 128, 512
BPFTOOL = "/usr/sbin/bpftool"


@dataclass(frozen=True)
class KernelMemory:
    """The maps: all they take by vCPU, for MORE_VCPUS, and what is there whatever their number."""

    kib_per_vcpu: float
    fixed_kib: float
    per_cpu_maps: tuple[str, ...]


def measure() -> KernelMemory:
    """No other BPF program may come or go meanwhile."""
    facts = probe_host(symbols_wanted(LPT_SYMBOL))
    before = {shown["id"] for shown in _maps()}
    made = []
    for vcpus in (FEWER_VCPUS, MORE_VCPUS):
        with Attachment(make_plan(facts, vcpus)):
            made.append([shown for shown in _maps() if shown["id"] not in before])
    return compare(*made)


def compare(fewer: Iterable[Mapping[str, Any]], more: Iterable[Mapping[str, Any]]) -> KernelMemory:
    """From bpftool's lists of the maps for FEWER_VCPUS and for MORE_VCPUS."""
    small, large = (sum(shown["bytes_memlock"] for shown in maps) for maps in (fewer, more))
    slope = (large - small) / (MORE_VCPUS - FEWER_VCPUS)
    per_cpu = tuple(shown["name"] for shown in more if "percpu" in shown["type"])
    return KernelMemory(large / MORE_VCPUS / 1024, (small - slope * FEWER_VCPUS) / 1024, per_cpu)


def _maps() -> list[dict[str, Any]]:
    done = subprocess.run([BPFTOOL, "-j", "map"], check=True, capture_output=True)
    shown: list[dict[str, Any]] = json.loads(done.stdout)
    return shown
