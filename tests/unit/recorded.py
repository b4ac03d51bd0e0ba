# SPDX-License-Identifier: GPL-2.0-only
"""Recordings for tests: of made-up VMs, and of all there is in tests/unit/timed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lpttrace.model import Guest
from lpttrace.recording_types import Frame, RecordedHost
from lpttrace.recording_writer import Blocks, FileWriter
from lpttrace.snapshot import Account, Snapshot, Trap, VcpuCounters, VmKey
from lpttrace.snapshot_upkeep import ProgramRuns, Room, Upkeep
from lpttrace.synthetic import SyntheticSource, identify
from tests.unit import timed

SECOND = 10**9
BEGIN = 1_790_000_000 * SECOND

HOST = RecordedHost(
    *("host-1", "6.1.0-42-arm64", "0123abcd", "aarch64", "implementer 0x41 part 0xd0c", 64),
    *("nvhe", 25_000_000, "1.0.0", 3, "live"),
)


class Clock:
    """Tells the time that it is set to."""

    def __init__(self) -> None:
        self.ns = 5000 * SECOND

    def __call__(self) -> int:
        return self.ns


def synthetic(vms: int, vcpus: int, frames: int, every_ns: int = SECOND) -> list[Frame]:
    """One every so many ns."""
    clock, made = Clock(), list[Frame]()
    source = SyntheticSource(vms, vcpus, clock=clock)
    for number in range(frames):
        clock.ns += every_ns
        snapshot = source.read()
        made.append(Frame(BEGIN + number * every_ns, snapshot, identify(snapshot)))
    return made


def everything() -> list[Frame]:
    """All that can be in frames, and that can change from one to the next."""
    before, after = timed.before(), timed.after()
    upkeep = Upkeep(7, "0.26", Room(3, 512), Room(2, 512), (ProgramRuns("entry", 5, 700),))
    reset = replace(after.vcpus[0], traps={timed.CTL_WRITE: timed.trap(1, 2, 3)}, stolen=None)
    new = VcpuCounters(timed.WRONG, 7, 999, {timed.CTL_WRITE: Trap()}, 3, 0xC600_0999, seen_ns=12)
    worse = replace(new, unpaired=4, traps={timed.CTL_WRITE: Trap(pending=1)})
    better = replace(worse, traps={timed.CTL_WRITE: Trap(Account(), Account(1, 5), Account(2, 6))})
    snapshots = [
        before,
        replace(after, upkeep=upkeep, events=timed.EVENTS[1:]),
        replace(after, vcpus=(reset, *after.vcpus[1:], new), losses={"no_slot": 1, "torn": 2}),
        replace(after, vcpus=(*after.vcpus[1:], worse), counter_hz=None, events=()),
        replace(after, vms=after.vms[1:], vcpus=(better, after.vcpus[2], after.vcpus[1])),
        Snapshot(20 * SECOND, 21 * SECOND, (), (), (), {}),
        replace(after, start_ns=30 * SECOND, end_ns=31 * SECOND, events=timed.EVENTS[::-1]),
    ]
    names: dict[VmKey, Guest] = {**timed.GUESTS}
    frames = []
    for number, snapshot in enumerate(snapshots):
        if number == 3:
            names[timed.WRONG] = replace(names[timed.WRONG], name="renamed 名前", libvirt_name="x")
        guests = {vm.key: names[vm.key] for vm in snapshot.vms}
        frames.append(Frame(BEGIN + number, snapshot, guests))
    return frames


def record(path: Path, frames: list[Frame], host: RecordedHost = HOST) -> Path:
    """In a file."""
    with FileWriter(path, host) as writer:
        blocks = Blocks(writer.write)
        for frame in frames:
            blocks.add(frame)
        blocks.flush()
    return path
