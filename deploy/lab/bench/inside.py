# SPDX-License-Identifier: GPL-2.0-only
"""The measurement, in the lab's machine; the result is one JSON document on stdout."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from bench import crosscheck, programs, workload
from bench.background import ToolError
from bench.tools import TOOLS

# The empty programs' figure is what the statistics cost.
PROGRAMS_OF = ("empty", "lpttrace")


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench.inside")
    parser.add_argument("--only", default=",".join(TOOLS), metavar="TOOL,...")
    parser.add_argument("--samples", type=int, default=3, metavar="N")
    parser.add_argument("--programs", action="store_true", help="what each BPF program costs")
    parser.add_argument("--check", action="store_true", help="perf kvm stat against lpttrace")
    asked = parser.parse_args(argv)
    result: dict[str, Any] = {}
    try:
        names = asked.only.split(",")
        result["per_trap"] = {name: measure(name, asked.samples) for name in names}
        if asked.programs:
            result["programs"] = {name: programs.measure(name) for name in PROGRAMS_OF}
        if asked.check:
            result["check"] = crosscheck.run()
    except ToolError as error:
        print(f"bench: error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(result))
    return 0


def measure(name: str, samples: int) -> list[float]:
    """Instructions per trap with that tool attached; ToolError if it missed any trap."""
    tool, events_per_trap = TOOLS[name]
    with tool() as seen:
        workload.warm_up()
        taken = [workload.sample() for _ in range(samples)]
    shown = ", ".join(f"{value:.1f}" for value in taken)
    print(f"bench: {name}: {shown} instructions a trap; {seen()} events", file=sys.stderr)
    wanted = events_per_trap * workload.TRAPS_PER_SAMPLE * samples
    if seen() < wanted:
        raise ToolError(f"{name}: has {seen()} events of {wanted}: it lost some")
    return taken


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
