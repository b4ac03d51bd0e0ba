# SPDX-License-Identifier: GPL-2.0-only
"""Several files as one recording, as rotation makes them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import msgpack
import pytest
from typer.testing import CliRunner

from lpttrace.cli_app import app
from lpttrace.recording_files import Limits, RotatingWriter
from lpttrace.recording_format import (
    BLOCK_BYTES,
    SCHEMA,
    START_BYTES,
    BlockHead,
    RecordingError,
    pack,
    seal,
    unseal,
)
from lpttrace.recording_replay import Cursor
from lpttrace.recording_set import RecordingSet, open_recordings, recordings_in, runs_of
from lpttrace.recording_types import Frame
from lpttrace.recording_writer import Blocks
from tests.unit.recorded import BEGIN, HOST, SECOND, record, synthetic

FRAMES = synthetic(2, 2, 100)


def rotated(directory: Path) -> list[str]:
    """FRAMES in several files, beside one that is no recording."""
    writer = RotatingWriter(directory / "host.lpt", HOST, Limits(age_ns=240 * SECOND))
    blocks = Blocks(writer.write)
    for frame in FRAMES:
        blocks.add(frame)
    blocks.flush()
    writer.close()
    (directory / "notes").write_text("no recording")
    found = recordings_in(directory)
    assert len(found) > 3
    return found


def test_all_of_it_is_one(tmp_path: Path) -> None:
    rotated(tmp_path)
    with open_recordings([str(tmp_path)]) as recording:
        assert list(recording.frames()) == FRAMES and recording.problem is None
        assert recording.host == HOST and recording.count() == 100
        assert list(recording.thin(30 * SECOND)) == [FRAMES[n] for n in (0, 30, 60, 90, 99)]
        cursor = Cursor(recording)
        assert cursor.at(BEGIN + 75 * SECOND) == FRAMES[75] and cursor.before == FRAMES[74]
        assert cursor.at(BEGIN + 12 * SECOND) == FRAMES[12]


def test_in_whatever_order_they_are_named(tmp_path: Path) -> None:
    with open_recordings(rotated(tmp_path)[::-1]) as recording:
        assert list(recording.frames()) == FRAMES


def test_where_one_ends_early_the_next_goes_on(tmp_path: Path) -> None:
    paths = rotated(tmp_path)
    first = Path(paths[0])
    first.write_bytes(first.read_bytes()[:-3])
    with RecordingSet(paths) as recording:
        found = list(recording.frames())
        assert 80 < len(found) < 100 and found[0] == FRAMES[0] and found[-1] == FRAMES[-1]
        assert f"{first} is cut off" in (recording.problem or "")


def test_they_are_one_run(tmp_path: Path) -> None:
    paths = rotated(tmp_path)
    assert runs_of(paths[::-1]) == [paths]
    assert runs_of([paths[0], paths[2]]) == [[paths[0]], [paths[2]]]


def test_each_record_is_a_run(tmp_path: Path) -> None:
    """However soon one begins after another."""
    parts = [FRAMES[:30], FRAMES[30:60], FRAMES[60:]]
    paths = [str(record(tmp_path / str(n), part)) for n, part in enumerate(parts)]
    assert runs_of(paths[::-1]) == [[path] for path in paths]
    with RecordingSet(paths) as recording:
        assert list(recording.frames()) == FRAMES


def test_early_recordings_do_not_tell_runs(tmp_path: Path) -> None:
    paths = rotated(tmp_path)
    for path in map(Path, paths):
        path.write_bytes(without_run(path.read_bytes()))
    assert runs_of(paths) == [paths]
    with RecordingSet(paths) as recording:
        assert list(recording.frames()) == FRAMES


def test_files_without_frames_are_one(tmp_path: Path) -> None:
    paths = [str(record(tmp_path / name, [])) for name in ("a", "b")]
    with RecordingSet(paths) as recording:
        assert list(recording.frames()) == []


def test_runs_at_the_same_time(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    ours, theirs = rotated(one), rotated(other)
    assert sorted(runs_of([*ours, *theirs])) == [ours, theirs]


def without_run(data: bytes) -> bytes:
    """A recording whose schema has no id of the run."""
    head = BlockHead.parse(data[START_BYTES : START_BYTES + BLOCK_BYTES])
    assert head is not None
    begin = START_BYTES + BLOCK_BYTES
    plain = unseal(head, data[begin : begin + head.packed])
    assert plain is not None
    document = msgpack.unpackb(plain)
    del document["run"]
    schema = seal(SCHEMA, head.recording, 0, pack(msgpack.packb(document)))
    return data[:START_BYTES] + schema + data[begin + head.packed :]


def later(frames: list[Frame], boot: bool) -> list[Frame]:
    """The same after an hour."""
    hour = 3600 * SECOND
    end = 5 if boot else 100_000 * SECOND
    return [
        replace(
            frame,
            unix_ns=frame.unix_ns + hour,
            snapshot=replace(frame.snapshot, start_ns=end + n, end_ns=end + n),
        )
        for n, frame in enumerate(frames)
    ]


def test_what_cannot_be_one(tmp_path: Path) -> None:
    frames = FRAMES[:12]
    one = str(record(tmp_path / "one", frames))
    same = str(record(tmp_path / "same", frames))
    booted = str(record(tmp_path / "booted", later(frames, True)))
    other = str(record(tmp_path / "other", later(frames, False), replace(HOST, hostname="x")))
    for path, why in ((same, "of the same time"), (booted, "was booted"), (other, "their hosts")):
        with pytest.raises(RecordingError, match=why):
            RecordingSet([one, path])
        assert runs_of([one, path]) == [[one], [path]]


def test_commands_take_them(tmp_path: Path) -> None:
    paths = rotated(tmp_path)
    run = CliRunner().invoke
    once = run(app, ["replay", "--once", "--json", *paths])
    assert once.exit_code == 0 and json.loads(once.stdout)["interval_seconds"] == 99
    exported = run(app, ["export", str(tmp_path), "--to", "csv", "--interval", "50s"])
    times = {line.split(",")[0] for line in exported.stdout.splitlines()[1:]}
    assert exported.exit_code == 0 and len(times) == 3
    told = run(app, ["report", str(tmp_path)])
    assert told.exit_code == 0 and "100 frames" in told.stdout
    found = run(app, ["diff", str(tmp_path), paths[0], "--json"])
    assert [side["frames"] for side in json.loads(found.stdout)["before"]] == [100]
