# SPDX-License-Identifier: GPL-2.0-only
"""From measurements to the tables of docs/overhead.md and to what is over its limit. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from bench.docs import table

if TYPE_CHECKING:
    from bench.agent import AgentCost
    from bench.kernel_memory import KernelMemory

TOOL_NAMES = {
    "nothing": "nothing",
    "empty": "four empty BPF programs",
    "lpttrace": "**lpttrace**",
    "ftrace": "ftrace ring buffer, the same four events",
    "perf": "`perf kvm stat record`, two events",
    "bpftrace": "bpftrace, the same four events",
}
# Programs that run less often than this a trap are about something else.
RARE_RUNS = 0.01


@dataclass(frozen=True)
class Limit:
    """A figure, its unit, and what it may be at most; digits are those shown."""

    what: str
    value: float
    most: float
    unit: str
    digits: int = 0

    @property
    def kept(self) -> bool:
        return self.value <= self.most

    def row(self) -> tuple[str, str, str]:
        return self.what, self._shown(self.value), self._shown(self.most)

    def __str__(self) -> str:
        return f"{self.what}: {self._shown(self.value)}, at most {self._shown(self.most)}"

    def _shown(self, value: float) -> str:
        return f"{value:,.{self.digits}f} {self.unit}".rstrip()


def added(per_trap: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Instructions per trap that each tool adds; the median of its samples."""
    base = median(per_trap["nothing"])
    return {name: median(samples) - base for name, samples in per_trap.items()}


def trap_limits(per_trap: Mapping[str, Sequence[float]]) -> list[Limit]:
    """Of lpttrace, alone and against the others."""
    extra = added(per_trap)
    ours = extra["lpttrace"]
    return [
        Limit("instructions that lpttrace adds to a trap", ours, 650, ""),
        Limit("the same, of what ftrace's ring buffer adds", ours / extra["ftrace"], 0.42, "", 2),
        Limit("the same, of what bpftrace adds", ours / extra["bpftrace"], 0.2, "", 3),
    ]


def trap_section(result: Mapping[str, Any]) -> str:
    """The generated section about the cost of a trap."""
    parts = [_trap_table(result["per_trap"]), limit_table(trap_limits(result["per_trap"]))]
    parts.append("Of the added instructions, in the programs themselves:")
    parts.append(_program_table(result["programs"]))
    parts.append("Exits of one run, counted by `perf kvm stat` and lpttrace at the same time:")
    parts.append(_check_table(result["check"]))
    return "\n\n".join(parts)


def agent_limits(cost: AgentCost, memory: KernelMemory, live_mib: float) -> list[Limit]:
    """Of the agent with 512 vCPUs, and of what the kernel keeps for it."""
    return [
        Limit("`lpttrace serve`, synthetic: resident memory", cost.serve_mib, 45, "MiB", 1),
        Limit("`lpttrace serve`, in the lab: resident memory", live_mib, 45, "MiB", 1),
        Limit("`lpttrace serve`: CPU time of a scrape", cost.scrape_ms, 50, "ms", 1),
        Limit("`lpttrace top`, 1 s refresh: CPU of one core", cost.top_percent, 3, "%", 1),
        Limit("kernel memory for a vCPU of 512, all told", memory.kib_per_vcpu, 64, "KiB", 1),
        Limit("maps with a copy per CPU", len(memory.per_cpu_maps), 0, ""),
    ]


def agent_section(limits: Sequence[Limit], cost: AgentCost, memory: KernelMemory) -> str:
    """The generated section about the agent."""
    also = (
        f"Besides: a scrape is {cost.exposition_kib:,.0f} KiB of text; `lpttrace top` has "
        f"{cost.top_mib:.1f} MiB resident, and of its CPU time {cost.made_up_ms:.1f} ms a second "
        f"make the numbers up; the kernel keeps {memory.fixed_kib:,.0f} KiB of all its memory "
        "whatever the number of vCPUs."
    )
    return f"{limit_table(limits)}\n\n{also}"


def limit_table(limits: Sequence[Limit]) -> str:
    return table(("figure", "measured", "limit"), [limit.row() for limit in limits])


def _trap_table(per_trap: Mapping[str, Sequence[float]]) -> str:
    extra = added(per_trap)
    rows = [
        (TOOL_NAMES[name], f"{median(samples):,.0f}", f"{extra[name]:,.0f}", _spread(samples))
        for name, samples in per_trap.items()
    ]
    return table(("attached", "instructions a trap", "added", "spread of the samples"), rows)


def _spread(samples: Sequence[float]) -> str:
    if len(samples) < 2:
        return "n/a"
    return f"{(max(samples) - min(samples)) / median(samples) * 100:.2f} %"


def _program_table(programs: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Of lpttrace's programs those that run at traps, not at what is rare."""
    statistics = median(instructions for instructions, _ in programs["empty"].values())
    rows = [
        (f"`{name}`", f"{runs:.2f}", f"{instructions - statistics:,.0f}")
        for name, (instructions, runs) in programs["lpttrace"].items()
        if runs > RARE_RUNS
    ]
    return table(("program", "runs a trap", "instructions a run"), rows)


def _check_table(check: Mapping[str, int]) -> str:
    others = check["perf_sys64_no_timer"]
    rows = [
        ("hypercalls (HVC64)", "issued_hypercalls", "lpttrace_hypercalls", "perf_hvc64"),
        ("system registers (SYS64)", "issued_timer_traps", "lpttrace_timer_traps", "perf_sys64"),
    ]
    shown = [(name, *(f"{check[key]:,}" for key in keys)) for name, *keys in rows]
    of_others = ("of these, registers of no timer", "", "", f"{others:,}")
    return table(("exits", "issued", "lpttrace", "perf"), [*shown, of_others])
