# SPDX-License-Identifier: GPL-2.0-only
"""Records a Linux guest while changes are planted in the host's kernel, one after the other.

Usage: pairs.py PHASES [IMAGE]. PHASES is a JSON list of objects: "name", "seconds", "sleep_us" of
the guest, which boots anew when it changes, and "knobs" of the kernel lpt-6.1-planted. IMAGE is the
guest's kernel, if not the host's own. Prints the recording as base64, and the window of each phase
in nanoseconds of the wall clock. Standard library only.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

KNOBS = Path("/sys/module/kvm/parameters")
OFF = {
    "planted_ns": 0,
    "planted_register": 0,
    "planted_vcpu": -1,
    "planted_every": 1,
    "planted_again": 0,
}
GUEST = [
    *("lablinux", "--timer", "physical", "--vcpus", "4", "--everywhere"),
    *("--sleeps", "1000000", "--start-barrier"),
]
# On the machine's only CPU a vCPU whose timer expires would wait for the recorder; since Linux 6.6,
# whose scheduler preempts less, for longer.
ONLY_IDLE, AS_OTHERS = ["chrt", "--idle", "0"], ["chrt", "--other", "0", "python3"]
RECORDING, WINDOWS = Path("/tmp/pairs.lpt"), Path("/tmp/windows.json")
# The guest's first sleeps are not like those after them.
SETTLE_SECONDS = 0.5


@contextmanager
def guest(image: list[str], sleep_us: int) -> Iterator[None]:
    """From its first sleep to the end of the block."""
    command = [*GUEST, "--sleep-us", str(sleep_us), *(f"--kernel={path}" for path in image)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as vmm:
        assert vmm.stdin and vmm.stderr
        try:
            while vmm.stderr.readline() != b"ready\n":
                assert vmm.poll() is None
            vmm.stdin.close()
            time.sleep(SETTLE_SECONDS)
            yield
        finally:
            vmm.kill()


def plant(knobs: dict[str, int]) -> None:
    """Set these knobs, and the others to what they were at first."""
    for name, value in {**OFF, **knobs}.items():
        path = KNOBS / name
        if knobs or path.exists():
            path.write_text(f"{value}\n")


def run(phases: list[dict[str, Any]], image: list[str]) -> dict[str, tuple[int, int]]:
    windows: dict[str, tuple[int, int]] = {}
    for sleep_us, alike in groupby(phases, lambda phase: int(phase["sleep_us"])):
        with guest(image, sleep_us):
            for phase in alike:
                plant(phase.get("knobs", {}))
                begin = time.time_ns()
                time.sleep(phase["seconds"])
                windows[phase["name"]] = begin, time.time_ns()
    return windows


def main(arguments: list[str]) -> None:
    command = [*ONLY_IDLE, "lpttrace", "record", "-o", str(RECORDING), "--interval", "500ms"]
    subprocess.run([*command, "--", *AS_OTHERS, __file__, "run", *arguments], check=True)
    recording = base64.b64encode(RECORDING.read_bytes()).decode()
    print(json.dumps({"recording": recording, "windows": json.loads(WINDOWS.read_text())}))


if __name__ == "__main__":
    if sys.argv[1] == "run":
        WINDOWS.write_text(json.dumps(run(json.loads(sys.argv[2]), sys.argv[3:])))
    else:
        main(sys.argv[1:])
