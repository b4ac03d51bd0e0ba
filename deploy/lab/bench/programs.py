# SPDX-License-Identifier: GPL-2.0-only
"""What each BPF program runs for, by the kernel's own statistics, which cost something themselves:
an empty program's figure is theirs.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bench import workload
from bench.tools import TOOLS

# Instructions a run and runs a trap.
Costs = dict[str, tuple[float, float]]
STATS = Path("/proc/sys/kernel/bpf_stats_enabled")


def measure(name: str) -> Costs:
    """Of each program of a tool, by name."""
    tool, _ = TOOLS[name]
    with tool():
        STATS.write_text("1")
        workload.sample()
        STATS.write_text("0")
        shown = subprocess.run(["bpftool", "-j", "prog"], check=True, capture_output=True).stdout
    costs = by_program(json.loads(shown))
    for program, (instructions, runs) in costs.items():
        said = f"{instructions:.1f} instructions a run, {runs:.4f} runs a trap"
        print(f"bench: {name}: {program}: {said}", file=sys.stderr)
    return costs


def by_program(shown: Iterable[Mapping[str, Any]]) -> Costs:
    """From bpftool's list; programs that did not run are left out."""
    return {
        program["name"]: (
            program["run_time_ns"] / program["run_cnt"] / workload.NS_PER_INSTRUCTION,
            program["run_cnt"] / workload.TRAPS_PER_SAMPLE,
        )
        for program in shown
        if program.get("run_cnt")
    }
