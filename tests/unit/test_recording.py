# SPDX-License-Identifier: GPL-2.0-only
"""What is recorded is read again to the last bit, or to the last whole block."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable

import msgpack
import pytest

from lpttrace.errors import ProtocolError
from lpttrace.recording_format import BLOCK_BYTES, START_BYTES, RecordingError
from lpttrace.recording_reader import Recording
from lpttrace.recording_types import Frame
from lpttrace.recording_writer import FileWriter
from lpttrace.snapshot import Account, Trap, VmKey
from tests.unit.recorded import BEGIN, HOST, SECOND, everything, record, synthetic


def read(path: Path) -> tuple[list[Frame], str]:
    with Recording(str(path)) as recording:
        return list(recording.frames()), recording.problem or ""


def test_everything_comes_back(tmp_path: Path) -> None:
    frames = everything()
    path = record(tmp_path / "a", frames)
    assert read(path) == (frames, "")
    with Recording(str(path)) as recording:
        assert recording.host == HOST
        # From the begin each time.
        assert list(recording.frames()) == list(recording.frames()) == frames


def test_blocks_can_be_read_alone(tmp_path: Path) -> None:
    frames = synthetic(2, 2, 35)
    with Recording(str(record(tmp_path / "a", frames))) as recording:
        assert [block.head.frames for block in recording.blocks] == [11, 11, 11, 2]
        assert list(recording.frames_from(3)) == frames[33:]
        assert list(recording.frames_from(1)) == frames[11:]


@pytest.mark.parametrize(
    ("every", "expected"),
    [(0, [*range(35)]), (10, [0, 10, 20, 30, 34]), (12, [0, 12, 24, 34]), (99, [0, 34])],
)
def test_thin(tmp_path: Path, every: int, expected: list[int]) -> None:
    frames = synthetic(1, 1, 35)
    with Recording(str(record(tmp_path / "a", frames))) as recording:
        assert list(recording.thin(every * SECOND)) == [frames[number] for number in expected]


def test_no_frames(tmp_path: Path) -> None:
    path = record(tmp_path / "a", [])
    assert read(path) == ([], "")
    with Recording(str(path)) as recording:
        assert list(recording.thin(SECOND)) == []


def test_a_typical_load_takes_far_less_than_two_kib_per_vcpu(tmp_path: Path) -> None:
    path = record(tmp_path / "a", synthetic(64, 8, 22, SECOND + 1_234_567))
    assert path.stat().st_size / (22 * 512) < 200


def test_cut_off_anywhere(tmp_path: Path) -> None:
    frames = everything() + [
        replace(
            frame,
            unix_ns=BEGIN + 60 * SECOND + number,
            snapshot=replace(frame.snapshot, end_ns=10**14),
        )
        for number, frame in enumerate(synthetic(1, 1, 24)[::12])
    ]
    whole = record(tmp_path / "a", frames).read_bytes()
    ends = block_ends(whole)
    assert len(ends) >= 3
    path = tmp_path / "b"
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        if length < ends[0]:
            with pytest.raises(RecordingError, match=r"not a recording|before its first frame"):
                Recording(str(path))
            continue
        found, problem = read(path)
        kept = sum(frames_before(whole, ends, length))
        assert found == frames[:kept]
        assert (f"byte {max(end for end in ends if end <= length)} of" in problem) == (
            length not in ends
        )


def block_ends(data: bytes) -> list[int]:
    ends, at = [], START_BYTES
    while at < len(data):
        at += BLOCK_BYTES + struct.unpack_from("<I", data, at + 40)[0]
        ends.append(at)
    assert ends[-1] == len(data)
    return ends


def frames_before(data: bytes, ends: list[int], length: int) -> list[int]:
    starts = [START_BYTES, *ends[:-1]]
    return [
        struct.unpack_from("<I", data, at + 20)[0] for at, end in zip(starts, ends) if end <= length
    ]


@pytest.mark.parametrize("content", [b"", b"\n", b"#!/bin/sh\n", b"\x89LPTREC\n", bytes(4096)])
def test_no_recording(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    with pytest.raises(RecordingError, match="it is not a recording of lpttrace"):
        Recording(str(path))


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="no such file"):
        Recording(str(tmp_path / "a"))
    with pytest.raises(RecordingError, match="not a regular file"):
        Recording(str(tmp_path))
    with pytest.raises(RecordingError, match="not a regular file"):
        Recording("/dev/zero")


def test_another_version_of_the_format(tmp_path: Path) -> None:
    path = record(tmp_path / "a", [])
    data = bytearray(path.read_bytes())
    data[8] = 2
    path.write_bytes(data)
    with pytest.raises(ProtocolError, match="format is version 2, this lpttrace reads 1"):
        Recording(str(path))


def test_a_later_lpttrace_that_counts_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack = msgpack.packb

    def later(document: dict[str, object], **options: object) -> bytes:
        packed: bytes = pack({**document, "timers": ["physical", "quantum"]}, **options)
        return packed

    monkeypatch.setattr(msgpack, "packb", later)
    path = record(tmp_path / "a", [], replace(HOST, lpttrace="9\x1b[2J"))
    with pytest.raises(ProtocolError, match=r"lpttrace 9\\x1b\[2J has recorded: it counts what"):
        Recording(str(path))


def test_names_that_are_no_unicode_are_recorded_all_the_same(tmp_path: Path) -> None:
    (frame,) = synthetic(1, 1, 1)
    host = replace(HOST, hostname="a\udcffb")
    probes = (replace(frame.snapshot.probes[0], reason="\ud800"),)
    frame = replace(frame, snapshot=replace(frame.snapshot, probes=probes))
    path = record(tmp_path / "a", [frame], host)
    (found,), _ = read(path)
    assert found.snapshot.probes[0].reason == "?"


def test_a_taken_name_is_not_overwritten(tmp_path: Path) -> None:
    path = record(tmp_path / "a", [])
    with pytest.raises(FileExistsError):
        FileWriter(path, HOST)
    FileWriter(path, HOST, overwrite=True).close()


def with_count(frame: Frame, account: Account) -> Frame:
    vcpu = frame.snapshot.vcpus[0]
    traps = {**vcpu.traps, next(iter(vcpu.traps)): Trap(account)}
    return replace(frame, snapshot=replace(frame.snapshot, vcpus=(replace(vcpu, traps=traps),)))


def with_vcpu(frame: Frame, **what: Any) -> Frame:
    vcpus = (replace(frame.snapshot.vcpus[0], **what),)
    return replace(frame, snapshot=replace(frame.snapshot, vcpus=vcpus))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda frame: with_count(frame, Account(1 << 60, 1)),
        lambda frame: with_count(frame, Account(1, 1 << 63)),
        lambda frame: with_vcpu(frame, vm=VmKey(77, 7)),
        lambda frame: with_vcpu(frame, vcpu=1 << 31),
    ],
    ids=["count", "nanoseconds", "vm", "number"],
)
def test_what_nobody_counts_is_damage(tmp_path: Path, spoil: Callable[[Frame], Frame]) -> None:
    """report, diff and export have no room for it."""
    frames = synthetic(1, 1, 4)
    path = record(tmp_path / "a", [*frames[:3], spoil(frames[3])])
    with Recording(str(path)) as recording:
        assert list(recording.frames()) == frames[:3]
        assert "damaged" in (recording.problem or "")
