# SPDX-License-Identifier: GPL-2.0-only
"""Long recordings of which few frames are read: those that tell as much as all of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lpttrace import synthetic as synthetic_source
from lpttrace.blocks import Blocks, reduce
from lpttrace.recording_format import BLOCK_BYTES
from lpttrace.recording_reader import Recording
from lpttrace.recording_set import open_recordings
from lpttrace.recording_types import Frame
from lpttrace.snapshot import LptUpdates, VmKey
from lpttrace.synthetic import SyntheticSource, identify
from tests.unit import recordings, timed
from tests.unit.recorded import BEGIN, HOST, SECOND, Clock, record, synthetic

DAY = 2000
LOOK = 100 * SECOND


def coming_and_going(seconds: int, life: int = 300) -> list[Frame]:
    """Two VMs that live for so many seconds each, one after another."""
    clock, made = Clock(), list[Frame]()
    source = SyntheticSource(2, 2, life, clock)
    for number in range(seconds):
        clock.ns += SECOND
        snapshot = source.read()
        made.append(Frame(BEGIN + number * SECOND, snapshot, identify(snapshot)))
    return made


def without_second(frame: Frame) -> Frame:
    snapshot = frame.snapshot
    key = snapshot.vms[1].key
    vcpus = tuple(vcpu for vcpu in snapshot.vcpus if vcpu.vm != key)
    guests = {vm.key: frame.guests[vm.key] for vm in snapshot.vms[:1]}
    return replace(
        frame, snapshot=replace(snapshot, vms=snapshot.vms[:1], vcpus=vcpus), guests=guests
    )


def numbers(path: Path, all_of: list[Frame], look: int | None = LOOK) -> list[int]:
    with Recording(str(path)) as recording:
        found = list(recording.thin(500 * SECOND, look_ns=look))
    places = [round((frame.unix_ns - BEGIN) / SECOND) for frame in found]
    assert found == [all_of[place] for place in places]
    return places


def test_what_is_looked_at_and_is_the_same_is_passed_over(tmp_path: Path) -> None:
    frames = synthetic(2, 1, 1100)
    places = numbers(record(tmp_path / "a", frames), frames)
    assert places[0] == 0 and places[-1] == 1099 and len(places) == 4
    assert 500 <= places[1] < 520 and places[1] + 500 <= places[2] < 1099


def test_of_what_has_changed_both_sides_are_read(tmp_path: Path) -> None:
    frames = synthetic(2, 1, 1100)
    frames[310:] = [without_second(frame) for frame in frames[310:]]
    places = numbers(record(tmp_path / "a", frames), frames)
    assert any(210 <= place < 310 for place in places)
    assert any(310 <= place < 420 for place in places)


def test_lpt_that_changes_is_seen(tmp_path: Path) -> None:
    frames = synthetic(2, 1, 1100)
    published = LptUpdates(structure=timed.STRUCTURE)
    for place in range(310, 1100):
        snapshot = frames[place].snapshot
        vms = (replace(snapshot.vms[0], lpt=published), *snapshot.vms[1:])
        frames[place] = replace(frames[place], snapshot=replace(snapshot, vms=vms))
    places = numbers(record(tmp_path / "a", frames), frames)
    assert any(310 <= place < 420 for place in places)


def test_of_a_damaged_one_the_last_frame_before_is_read(tmp_path: Path) -> None:
    frames = synthetic(1, 1, 1100)
    path = record(tmp_path / "a", frames)
    with Recording(str(path)) as recording:
        # The one that is looked at next after 500 s.
        damaged = next(b for b in recording.blocks if b.head.first_ns >= BEGIN + 600 * SECOND)
    data = bytearray(path.read_bytes())
    data[damaged.offset + BLOCK_BYTES + 8] ^= 1
    path.write_bytes(data)
    with Recording(str(path)) as recording:
        whole = list(recording.frames())
    assert whole == frames[: len(whole)] and len(whole) < 620
    found = numbers(path, frames)
    assert found[-1] in (len(whole) - 1, 1099)


def test_all_frames_are_counted(tmp_path: Path) -> None:
    frames = synthetic(1, 1, 200)
    path = record(tmp_path / "a", frames)
    assert of(path).frames == 200
    with Recording(str(path)) as recording:
        assert recording.count(BEGIN + 15 * SECOND, BEGIN + 95 * SECOND) == 81
        found = reduce(recording, window=(BEGIN + 15 * SECOND, BEGIN + 95 * SECOND))
    assert found is not None and found.frames == 81


def of(path: Path) -> Blocks:
    with Recording(str(path)) as recording:
        found = reduce(recording)
    assert found is not None
    return found


@pytest.mark.parametrize("coming", [False, True])
def test_sums_are_those_of_all_frames(
    tmp_path: Path, coming: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As long as an agent shows VMs that have ended.
    monkeypatch.setattr(synthetic_source, "_GRACE_NS", 300 * SECOND)
    frames = coming_and_going(DAY) if coming else synthetic(2, 2, DAY)
    thin = of(record(tmp_path / "a", frames))
    full = reduce(recordings.Recording(HOST, frames))
    assert full is not None and thin.vcpus == full.vcpus
    assert set(thin.series) == set(full.series)
    for key, row in full.rows.items():
        assert (
            thin.counts[thin.rows[key]].sum(axis=0).tolist()
            == full.counts[row].sum(axis=0).tolist()
        )
        assert thin.times[thin.rows[key]].sum() == full.times[row].sum()
    assert len(thin.seconds) <= 64 and thin.seconds.sum() == full.seconds.sum()


@pytest.mark.parametrize(("life", "seconds"), [(20, 600), (60, 900)])
@pytest.mark.parametrize("again", [False, True], ids=["file", "set"])
def test_vms_were_there_until_they_ended(
    tmp_path: Path, life: int, seconds: int, again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synthetic_source, "_GRACE_NS", 300 * SECOND)
    frames = coming_and_going(seconds, life)
    half = seconds // 2
    parts = [frames[:half], frames[half:]] if again else [frames]
    paths = [str(record(tmp_path / str(n), part)) for n, part in enumerate(parts)]
    ended: dict[VmKey, int] = {}
    for frame in frames:
        for vm in frame.snapshot.vms:
            if not vm.alive:
                ended.setdefault(vm.key, frame.snapshot.end_ns)
    first, last = frames[0].snapshot, frames[-1].snapshot
    keys = {vm.key for frame in frames for vm in frame.snapshot.vms} - {
        vm.key for vm in first.vms if not vm.alive
    }
    with open_recordings(paths) as recording:
        found = reduce(recording, lambda guest: "all")
    assert found is not None
    lives = [ended.get(key, last.end_ns) - max(key.seen_ns, first.end_ns) for key in keys]
    assert found.exposure.sum() == pytest.approx(2 * sum(lives) / SECOND)
    # One is there all the time in each place, but for the second in which it ends.
    assert found.exposure.sum() == pytest.approx(4 * (seconds - 1), rel=1.1 / life)


@pytest.mark.parametrize("seconds", [-3600, -30, 8 * 3600], ids=["hour", "little", "forward"])
@pytest.mark.parametrize("at", [60, 65])
def test_a_clock_that_is_set_changes_nothing(tmp_path: Path, seconds: int, at: int) -> None:
    """Or a host that sleeps."""
    frames = synthetic(2, 2, 300)
    plain = of(record(tmp_path / "plain", frames))
    frames[at:] = [replace(f, unix_ns=f.unix_ns + seconds * SECOND) for f in frames[at:]]
    path = record(tmp_path / "set", frames)
    found = of(path)
    assert found.frames == 300 and found.seconds.sum() == 299
    assert len(found.seconds) > 50 and found.seconds.max() <= 2 * plain.seconds.max()
    assert found.counts.sum() == plain.counts.sum()
    with Recording(str(path)) as recording:
        assert list(recording.thin(0)) == frames
