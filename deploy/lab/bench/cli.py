# SPDX-License-Identifier: GPL-2.0-only
"""The command line of the benchmark, on the developer's machine."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import docs, guest_report, report
from bench.crosscheck import Check
from bench.tools import TOOLS

BENCH = Path(__file__).resolve().parent
PROJECT = BENCH.parents[2]
LAB = BENCH.parent / "lab"
OVERHEAD = PROJECT / "docs/overhead.md"
INSIDE = "/opt"
LAB_SECONDS = 3600
TRAP, AGENT, GUEST, SOAK, DAY = "cost-per-trap", "agent", "guest", "soak", "day"
LONG = ("soak", "day")


class BenchError(Exception):
    """A measurement that could not be made."""


def main(argv: Sequence[str]) -> int:
    """Runs one command line; status 1 if a figure is over its limit or a check failed."""
    asked = _parser().parse_args(argv)
    try:
        if asked.only:
            _quick(asked.only, asked.samples, asked.programs)
            return 0
        parts = [asked.part] if asked.part else [part for part in PARTS if part not in LONG]
        faults = [fault for name in parts for fault in PARTS[name](asked)]
    except (BenchError, docs.DocsError) as error:
        print(f"bench: error: {error}", file=sys.stderr)
        return 1
    for fault in faults:
        print(f"bench: FAILED: {fault}", file=sys.stderr)
    return 1 if faults else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench",
        description="Measures what lpttrace costs, and writes it to docs/overhead.md.",
        epilog="example, to tune the programs: run --only nothing,lpttrace --samples 2 --programs",
    )
    parser.add_argument(
        "--part",
        choices=list(PARTS),
        help=f"default: all but {' and '.join(LONG)}, which take long",
    )
    parser.add_argument("--samples", type=int, default=3, metavar="N", help="of each tool")
    parser.add_argument(
        "--only",
        type=_tools,
        metavar="TOOL,...",
        help=f"of {', '.join(TOOLS)}; prints, writes no document",
    )
    parser.add_argument(
        "--whole", action="store_true", help="with --part day: record every frame; takes hours"
    )
    parser.add_argument("--programs", action="store_true", help="with --only: each BPF program")
    return parser


def _tools(text: str) -> str:
    if wrong := set(text.split(",")) - set(TOOLS):
        raise argparse.ArgumentTypeError(f"no tool is named {', '.join(sorted(wrong))}")
    return text


def _quick(tools: str, samples: int, programs: bool) -> None:
    options = ["--only", tools, "--samples", str(samples), *["--programs"][: int(programs)]]
    _in_lab(["--icount"], "bench.inside", options)


def _trap(asked: argparse.Namespace) -> list[str]:
    options = ["--samples", str(asked.samples), "--programs", "--check"]
    result = json.loads(_in_lab(["--icount"], "bench.inside", options))
    _write(TRAP, report.trap_section(result))
    return _over(report.trap_limits(result["per_trap"])) + Check(**result["check"]).faults()


def _agent(_asked: argparse.Namespace) -> list[str]:
    # The only part that needs more than Debian's own Python.
    from bench import agent, kernel_memory

    print("bench: the agent on this machine, about two minutes", file=sys.stderr)
    cost, memory = agent.measure(), kernel_memory.measure()
    print("bench: the agent with 512 vCPUs in the lab, some minutes", file=sys.stderr)
    live_mib = int(_in_lab([], "bench.live_agent", [])) / 1024
    limits = report.agent_limits(cost, memory, live_mib)
    _write(AGENT, report.agent_section(limits, cost, memory))
    return _over(limits)


def _guest(_asked: argparse.Namespace) -> list[str]:
    # A tick of the counter is 1 ns.
    result = json.loads(_in_lab(["--icount", "--cntfrq", "1000000000"], "bench.guest_side", []))
    _write(GUEST, guest_report.section(result))
    return []


def _soak(_asked: argparse.Namespace) -> list[str]:
    from bench import soak

    print(f"bench: the agent for {soak.MINUTES} minutes", file=sys.stderr)
    result = soak.measure()
    _write(SOAK, soak.section(result))
    return soak.faults(result)


def _day(asked: argparse.Namespace) -> list[str]:
    from bench import day

    print("bench: two recordings of a day, some minutes", file=sys.stderr)
    result = day.measure(asked.whole)
    _write(DAY, day.section(result))
    return _over(day.limits(result))


def _in_lab(machine: Sequence[str], module: str, options: Sequence[str]) -> str:
    """The standard output of one of our modules in the lab's machine."""
    run = [str(LAB), "run", *machine, "--timeout", str(LAB_SECONDS), "--add", f"{BENCH}:{INSIDE}/"]
    command = ["env", f"PYTHONPATH={INSIDE}", "python3", "-m", module, *options]
    done = subprocess.run([*run, "--", *command], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise BenchError(f"{module} in the lab ended with status {done.returncode}; see above")
    return done.stdout


def _write(section: str, body: str) -> None:
    print(f"\n{body}\n", flush=True)
    docs.write(OVERHEAD, section, body)


def _over(limits: Sequence[report.Limit]) -> list[str]:
    return [str(limit) for limit in limits if not limit.kept]


PARTS = {"trap": _trap, "guest": _guest, "agent": _agent, "soak": _soak, "day": _day}
