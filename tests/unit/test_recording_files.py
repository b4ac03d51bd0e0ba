# SPDX-License-Identifier: GPL-2.0-only
"""Recordings that replace each other, and the flight recorder."""

from __future__ import annotations

import errno
import os
import platform
import re
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from lpttrace.errors import LpttraceError
from lpttrace.recording_files import Limits, Ring, RotatingWriter, dated
from lpttrace.recording_host import build_id, cpu_model, describe_host
from lpttrace.recording_reader import Recording
from lpttrace.recording_set import open_recordings, recordings_in, runs_of
from lpttrace.recording_types import Frame
from lpttrace.recording_writer import Blocks, write_file
from tests.unit.recorded import BEGIN, HOST, SECOND, synthetic


def rotate(path: Path, frames: list[Frame], limits: Limits) -> int:
    """Write them, the files' times being those of the frames; the most bytes there were."""
    writer, most = RotatingWriter(path, HOST, limits), 0
    blocks = Blocks(writer.write)
    for frame in frames:
        blocks.add(frame)
        newest = max(path.parent.iterdir(), default=None, key=lambda file: file.name)
        if newest is not None:
            os.utime(newest, ns=(frame.unix_ns, frame.unix_ns))
        most = max(most, sum(file.stat().st_size for file in path.parent.iterdir()))
    blocks.flush()
    writer.close()
    return most


def frames_in(directory: Path) -> list[Frame]:
    found = []
    for path in sorted(directory.iterdir()):
        with Recording(str(path)) as recording:
            assert recording.host == HOST and recording.problem is None
            found += list(recording.frames())
    return found


def test_size(tmp_path: Path) -> None:
    frames = synthetic(8, 8, 600, 5 * SECOND)
    assert rotate(tmp_path / "host.lpt", frames, Limits(size=2**20)) <= 2**20
    kept = frames_in(tmp_path)
    # The youngest ones, without a gap, in files of an eighth each.
    assert 100 < len(kept) < 600 and kept == frames[-len(kept) :]
    assert 7 <= len(list(tmp_path.iterdir())) <= 10
    names = [path.name for path in tmp_path.iterdir()]
    assert all(re.fullmatch(r"host-20260921T\d{6}Z\.lpt", name) for name in names)


def test_age(tmp_path: Path) -> None:
    frames = synthetic(1, 1, 600, 10 * SECOND)
    rotate(tmp_path / "host.lpt", frames, Limits(age_ns=1600 * SECOND))
    kept = frames_in(tmp_path)
    assert kept == frames[-len(kept) :]
    assert 160 <= len(kept) <= 160 + 2 * 21


def test_only_our_own_files_are_deleted(tmp_path: Path) -> None:
    others = ["host.lpt", "host-20200101T000000Z.txt", "host-2-20200101T000000Z.lpt", "host-x.lpt"]
    before = ["host-20200101T000000Z.lpt", "host-20200101T000000Z-2.lpt"]
    for name in (*others, *before):
        (tmp_path / name).write_bytes(bytes(2**20))
        os.utime(tmp_path / name, (0, 0))
    rotate(tmp_path / "host.lpt", synthetic(1, 1, 3), Limits(size=2**20))
    left = {path.name for path in tmp_path.iterdir()}
    assert len(left) == 5 and left > set(others)


def test_names_that_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "a.b.lpt"
    assert dated(path, BEGIN).name == "a.b-20260921T141320Z.lpt"
    dated(path, BEGIN).touch()
    assert dated(path, BEGIN).name == "a.b-20260921T141320Z-2.lpt"
    assert dated(tmp_path / "plain", BEGIN).name == "plain-20260921T141320Z"


def test_ring(tmp_path: Path) -> None:
    frames = synthetic(2, 2, 300)
    blocks = Blocks(lambda body: ring.write(body))
    ring = Ring(tmp_path / "host.lpt", HOST, 100 * SECOND, blocks.flush)
    for frame in frames[:200]:
        blocks.add(frame)
    assert list(tmp_path.iterdir()) == []
    first = ring.dump(BEGIN)
    for frame in frames[200:]:
        blocks.add(frame)
    second = ring.dump(BEGIN)
    assert sorted(tmp_path.iterdir()) == sorted([first, second])
    for path, end in ((first, 200), (second, 300)):
        with Recording(str(path)) as recording:
            kept = list(recording.frames())
        # The last one too, though its block was not full; and a block more than was asked for.
        assert kept == frames[end - len(kept) : end] and 100 <= len(kept) <= 112
    ring.close()


def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As vfat, which a container of these tests cannot mount, refuses them.
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "a.lpt"
    assert write_file(path, HOST, []) == path.stat().st_size > 0
    whole = path.read_bytes()
    with pytest.raises(LpttraceError, match=r"^cannot write .*/a\.lpt: file exists$"):
        write_file(path, HOST, [])
    assert path.read_bytes() == whole and [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("seconds", [-3600, 3600], ids=["back", "forward"])
def test_a_ring_keeps_time_though_the_clock_is_set(tmp_path: Path, seconds: int) -> None:
    frames = with_clock_set(synthetic(1, 1, 500), 195, seconds)
    blocks = Blocks(lambda body: ring.write(body))
    ring = Ring(tmp_path / "host.lpt", HOST, 100 * SECOND, blocks.flush)
    for number, frame in enumerate(frames):
        blocks.add(frame)
        if number in (200, 499):
            with Recording(str(ring.dump(BEGIN + number * SECOND))) as recording:
                kept = list(recording.frames())
            assert kept == frames[number + 1 - len(kept) : number + 1]
            assert 100 <= len(kept) <= 112


@pytest.mark.parametrize("seconds", [-7200, 7200], ids=["back", "forward"])
@pytest.mark.parametrize(
    ("limits", "most"), [(Limits(size=2**20), 600), (Limits(age_ns=1000 * SECOND), 260)]
)
def test_the_youngest_stay_though_the_clock_is_set(
    tmp_path: Path, seconds: int, limits: Limits, most: int
) -> None:
    frames = with_clock_set(synthetic(8, 8, 600, 5 * SECOND), 400, seconds)
    rotate(tmp_path / "host.lpt", frames, limits)
    paths = recordings_in(tmp_path)
    with open_recordings(paths) as recording:
        kept = list(recording.frames())
    assert kept == frames[-len(kept) :] and 100 < len(kept) < most
    # They are still one run, in order.
    runs = runs_of(paths)
    with open_recordings(runs[0]) as recording:
        assert len(runs) == 1 and list(recording.frames()) == kept


def with_clock_set(frames: list[Frame], at: int, seconds: int) -> list[Frame]:
    """From that one on."""
    later = [replace(f, unix_ns=f.unix_ns + seconds * SECOND) for f in frames[at:]]
    return [*frames[:at], *later]


def test_this_host() -> None:
    host = describe_host("synthetic", 25_000_000)
    assert host.kernel == platform.release() and host.cpus == os.cpu_count()
    assert (host.source, host.counter_hz) == ("synthetic", 25_000_000)
    assert host.build_id == build_id() and re.fullmatch(r"[0-9a-f]*", host.build_id)


def note(name: bytes, description: bytes, kind: int) -> bytes:
    padded = [part + bytes(-len(part) % 4) for part in (name, description)]
    return struct.pack("=III", len(name), len(description), kind) + b"".join(padded)


def test_build_id(tmp_path: Path) -> None:
    assert build_id(tmp_path) == ""
    notes = tmp_path / "sys/kernel/notes"
    notes.parent.mkdir(parents=True)
    notes.write_bytes(note(b"Xen\0", b"12345", 3) + note(b"GNU\0", bytes(range(20)), 3))
    assert build_id(tmp_path) == bytes(range(20)).hex()
    notes.write_bytes(note(b"GNU\0", b"1234", 1) + b"\1")
    assert build_id(tmp_path) == ""


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("", ""),
        ("processor\t: 0\nmodel name\t: Xeon\n\nprocessor\t: 1\nmodel name\t: Xeon\n", "Xeon"),
        (
            "processor\t: 0\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x3\n"
            "CPU part\t: 0xd0c\nCPU revision\t: 1\n",
            "implementer 0x41 part 0xd0c variant 0x3 revision 1",
        ),
        ("model name\t: A\n\nmodel name\t: B\n", "A, B"),
    ],
)
def test_cpu_model(tmp_path: Path, told: str, expected: str) -> None:
    assert cpu_model(tmp_path) == ""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(told)
    assert cpu_model(tmp_path) == expected
