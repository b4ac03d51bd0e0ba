# SPDX-License-Identifier: GPL-2.0-only
"""Recordings as sums over blocks: nothing is lost or counted twice, whatever becomes of VMs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Optional

import numpy as np
import pytest

from lpttrace.blocks import MOST, Blocks, by_name, reduce
from lpttrace.blocks_sums import Subject
from lpttrace.diff_stats import Sums, change, estimate, holm
from lpttrace.recording_types import Frame
from lpttrace.snapshot import VmKey
from tests.unit.recordings import CTL_READ, HOST, SECOND, START, Plan, Recording, record


def blocks_of(recording: Recording, **how: object) -> Blocks:
    found = reduce(recording, **how)  # type: ignore[arg-type]
    assert found is not None
    return found


class Thin(Recording):
    """Frames that are decoded when they are wanted."""

    decoded = 0

    def count(self, begin_ns: int = 0, end_ns: Optional[int] = None) -> int:
        end_ns = 1 << 63 if end_ns is None else end_ns
        return sum(begin_ns <= frame.unix_ns <= end_ns for frame in self.made)

    def thin(
        self,
        every_ns: int,
        begin_ns: int = 0,
        end_ns: Optional[int] = None,
        look_ns: Optional[int] = None,
    ) -> Iterator[Frame]:
        every_ns = every_ns if look_ns is None else min(every_ns, look_ns)
        end_ns = 1 << 63 if end_ns is None else end_ns
        inside = [frame for frame in self.made if begin_ns <= frame.unix_ns <= end_ns]
        due = begin_ns
        for frame in inside:
            if frame.unix_ns >= due or frame is inside[-1]:
                due = frame.unix_ns + every_ns
                self.decoded += 1
                yield frame

    def ends(self, begin_ns: int, end_ns: int) -> Mapping[VmKey, int]:
        found: dict[VmKey, int] = {}
        for frame in self.made:
            for vm in frame.snapshot.vms:
                if begin_ns <= frame.snapshot.end_ns <= end_ns and not vm.alive:
                    found.setdefault(vm.key, frame.snapshot.end_ns)
        return found


@pytest.mark.parametrize("seconds", [1, 10, 63, 64, 65, 127, 128, 129, 300])
def test_sums_are_those_of_the_recording(seconds: int) -> None:
    recording = record(1, Plan(seconds=seconds, vcpus=2))
    blocks = blocks_of(recording)
    first, last = recording.made[0].snapshot, recording.made[-1].snapshot
    assert 1 <= len(blocks.seconds) <= MOST
    assert blocks.seconds.sum() == pytest.approx(seconds)
    for old, new in zip(first.vcpus, last.vcpus):
        row = blocks.rows[Subject("web", new.vcpu), CTL_READ]
        before, after = old.traps[CTL_READ], new.traps[CTL_READ]
        assert blocks.column("count")[row].sum() == after.count - before.count
        assert blocks.column("served_ns")[row].sum() == after.served.ns - before.served.ns
        assert (
            blocks.times[row].sum(axis=0).tolist() == after.service.since(before.service).counts()
        )
        assert blocks.exposure[blocks.places[Subject("web", new.vcpu)]].sum() == seconds


def test_blocks_are_alike_in_length() -> None:
    blocks = blocks_of(record(1, Plan(seconds=500, vcpus=1)))
    assert MOST / 2 <= len(blocks.seconds) <= MOST
    assert blocks.seconds[:-1].max() <= 2 * blocks.seconds[:-1].min()


def test_frames_within_a_block_need_not_be_decoded() -> None:
    plain = record(1, Plan(seconds=500, vcpus=1))
    thin = Thin(plain.host, plain.made)
    blocks = blocks_of(thin)
    assert thin.decoded <= MOST + 4
    assert blocks.counts.sum() == blocks_of(plain).counts.sum()
    assert blocks.end_ns == plain.made[-1].unix_ns
    window = (START + 10 * SECOND, START + 30 * SECOND)
    assert blocks_of(thin, window=window).seconds.sum() == pytest.approx(20)
    assert reduce(thin, window=(0, 1)) is None


def test_a_window_is_only_that() -> None:
    recording = record(1, Plan(seconds=60, vcpus=1))
    blocks = blocks_of(recording, window=(START + 10 * SECOND, START + 30 * SECOND))
    assert blocks.frames == 21 and blocks.seconds.sum() == pytest.approx(20)
    early, late = (recording.made[i].snapshot.vcpus[0].traps[CTL_READ].count for i in (10, 30))
    row = blocks.rows[Subject("web", 0), CTL_READ]
    assert blocks.column("count")[row].sum() == late - early
    assert reduce(recording, window=(START + 70 * SECOND, START + 80 * SECOND)) is None


def test_vms_of_one_name_are_added_up() -> None:
    recording = record(1, Plan(seconds=20, vcpus=2), ("a", "b"))
    apart = blocks_of(recording)
    together = blocks_of(recording, group=lambda guest: "both")
    assert together.vcpus == (Subject("both", 0), Subject("both", 1))
    assert together.counts.sum() == apart.counts.sum()
    assert together.exposure.sum() == apart.exposure.sum()
    assert blocks_of(recording, group=lambda g: g.name if g.name == "a" else None).vcpus == (
        Subject("a", 0),
        Subject("a", 1),
    )


def test_a_vm_that_comes_begins_at_zero_and_one_that_goes_is_kept() -> None:
    recording = record(1, Plan(seconds=20, vcpus=1), ("first", "second"))
    second = VmKey(1, 1)

    def without(frame: Frame) -> Frame:
        snapshot = frame.snapshot
        vms = tuple(vm for vm in snapshot.vms if vm.key != second)
        vcpus = tuple(vcpu for vcpu in snapshot.vcpus if vcpu.vm != second)
        return replace(frame, snapshot=replace(snapshot, vms=vms, vcpus=vcpus))

    frames = [
        frame if 5 <= place <= 10 else without(frame) for place, frame in enumerate(recording.made)
    ]
    blocks = blocks_of(Recording(recording.host, frames))
    row = blocks.rows[Subject("second", 0), CTL_READ]
    counted = recording.made[10].snapshot.vcpus[1].traps[CTL_READ].count
    assert blocks.column("count")[row].sum() == counted
    assert blocks.exposure[blocks.places[Subject("second", 0)]].sum() == pytest.approx(6)
    assert {vm.key for vm in blocks.last.vms} == {VmKey(0, 1), second}


def test_what_is_counted_anew_is_added_whole() -> None:
    recording = record(1, Plan(seconds=10, vcpus=1))
    again = record(2, Plan(seconds=10, vcpus=1), first=11)
    blocks = blocks_of(Recording(recording.host, [*recording.made, *again.made]))
    row = blocks.rows[Subject("web", 0), CTL_READ]
    begin = recording.made[0].snapshot.vcpus[0].traps[CTL_READ].count
    ends = [r.made[-1].snapshot.vcpus[0].traps[CTL_READ].count for r in (recording, again)]
    assert blocks.column("count")[row].sum() == sum(ends) - begin
    assert (blocks.times >= 0).all()


@pytest.mark.parametrize("first", [0, 1], ids=["behind", "before"])
def test_a_vcpu_that_went_and_came_back_is_counted_once(first: int) -> None:
    """As its slot was given to another thread: what it had counted stands still beside it."""
    old, new = (record(seed, Plan(seconds=40, vcpus=1)).made for seed in (1, 2))
    gone = old[20].snapshot.vcpus[0]
    made = list(old[:21])
    for place in range(21, 41):
        again = new[place - 20].snapshot.vcpus[0]
        again = replace(again, tid=999, seen_ns=old[20].snapshot.end_ns + 1)
        vcpus = (gone, again) if first else (again, gone)
        made.append(replace(old[place], snapshot=replace(old[place].snapshot, vcpus=vcpus)))
    blocks = blocks_of(Recording(HOST, made))
    row = blocks.rows[Subject("web", 0), CTL_READ]
    before = old[0].snapshot.vcpus[0].traps[CTL_READ].count
    came = new[20].snapshot.vcpus[0].traps[CTL_READ].count
    assert blocks.column("count")[row].sum() == gone.traps[CTL_READ].count - before + came
    assert blocks.exposure.sum() == pytest.approx(40)


def test_a_vcpu_whose_thread_changes_counts_on() -> None:
    """The kernel's side moves its slot, with what it has counted, to the new thread."""
    made = record(1, Plan(seconds=40, vcpus=1)).made
    moved = [
        replace(f, snapshot=replace(f.snapshot, vcpus=(replace(f.snapshot.vcpus[0], tid=999),)))
        for f in made[20:]
    ]
    blocks = blocks_of(Recording(HOST, [*made[:20], *moved]))
    ends = [frame.snapshot.vcpus[0].traps[CTL_READ].count for frame in (made[0], made[-1])]
    row = blocks.rows[Subject("web", 0), CTL_READ]
    assert blocks.column("count")[row].sum() == ends[1] - ends[0]


def test_one_frame_is_no_interval() -> None:
    recording = record(1, Plan(seconds=1, vcpus=1))
    assert reduce(Recording(recording.host, recording.made[:1]), by_name) is None
    assert reduce(Recording(recording.host, []), by_name) is None


def _noise(random: np.random.Generator, rows: int, memory: float) -> Sums:
    """Ratios of 3 with autocorrelated noise."""
    steps = random.normal(0, 0.1, (rows, 64))
    for block in range(1, 64):
        steps[:, block] += memory * steps[:, block - 1]
    under = random.uniform(500, 1500, (rows, 64))
    return Sums(3 * under * (1 + steps), under)


@pytest.mark.parametrize(("memory", "least"), [(0.0, 0.97), (0.5, 0.95), (0.9, 0.85)])
def test_intervals_hold_the_truth_as_often_as_they_say(memory: float, least: float) -> None:
    """99 %, or not much less where blocks have much to do with each other."""
    random = np.random.default_rng(5)
    before, after = (estimate([_noise(random, 4000, memory)]) for _ in range(2))
    found = change(before, after, alpha=0.01)
    assert np.mean((found.low <= 1) & (found.high >= 1)) >= least
    assert np.mean(found.p < 0.05) <= 0.05 + 2 * (0.99 - least) + 0.01


def test_without_noise_a_difference_is_sure_and_equality_is_none() -> None:
    same = np.full((2, 16), 100.0)
    other = Sums(same * [[1.0], [2.0]], same)
    found = change(estimate([Sums(same, same)]), estimate([other]), alpha=0.01)
    assert found.p.tolist() == [1.0, 0.0]
    assert found.low.tolist() == found.high.tolist() == [1.0, 2.0]


def test_holm() -> None:
    """The example of Holm's correction done by hand."""
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])).tolist() == pytest.approx(
        [0.03, 0.06, 0.06, 0.02]
    )
    assert holm(np.array([])).tolist() == []
