# SPDX-License-Identifier: GPL-2.0-only
"""Frames become blocks, and blocks files that are whole whatever happens on the way."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Callable, Optional

import msgpack

from lpttrace.errors import LpttraceError
from lpttrace.recording_encode import NO_FRAME, changes
from lpttrace.recording_format import (
    BLOCK_NS,
    FRAMES,
    MOST_FRAMES,
    SCHEMA,
    Body,
    make_id,
    pack,
    seal,
    start,
)
from lpttrace.recording_schema import pack_schema
from lpttrace.recording_types import Frame, RecordedHost

__all__ = ["Blocks", "FileWriter", "write_file"]

_BLOCK_BYTES = 1024 * 1024


class Blocks:
    """Takes frames, and gives a body to take for every ten seconds of them, or for one MiB."""

    def __init__(self, take: Callable[[Body], None]) -> None:
        self._take = take
        self._pack = msgpack.Packer(unicode_errors="replace").pack
        self._begin()

    def _begin(self) -> None:
        self._parts: list[bytes] = []
        self._before = NO_FRAME
        self._first_ns = self._begin_ns = self._bytes = 0

    def add(self, frame: Frame) -> None:
        """The frame after the last one."""
        part = self._pack(changes(self._before, frame))
        if not self._parts:
            self._first_ns, self._begin_ns = frame.unix_ns, frame.snapshot.end_ns
        self._parts.append(part)
        self._before, self._bytes = frame, self._bytes + len(part)
        # A clock may be set back.
        spent = abs(frame.unix_ns - self._first_ns) >= BLOCK_NS
        if spent or self._bytes >= _BLOCK_BYTES or len(self._parts) == MOST_FRAMES:
            self.flush()

    def flush(self) -> None:
        """Give away what has been taken, though it be less."""
        if self._parts:
            times = self._first_ns, self._before.unix_ns
            passed = self._begin_ns, self._before.snapshot.end_ns
            self._take(pack(b"".join(self._parts), len(self._parts), *times, *passed))
            self._begin()


class FileWriter:
    """A recording in a file of its own. With a name that is taken, FileExistsError is raised."""

    def __init__(
        self,
        path: Path,
        host: RecordedHost,
        overwrite: bool = False,
        run: Optional[bytes] = None,
    ) -> None:
        """run is that of the files before of which this is the next, if it is."""
        flags = os.O_TRUNC if overwrite else os.O_EXCL
        self.path = path
        self.written = 0
        self._recording, self._sequence = make_id(), 0
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | flags, 0o640)
        try:
            schema = seal(SCHEMA, self._recording, 0, pack(pack_schema(host, run or make_id())))
            self._append(start() + schema)
        except BaseException:
            self.close()
            path.unlink()
            raise

    def write(self, body: Body) -> None:
        """One block more. LpttraceError if there is no room: the file ends with the last whole."""
        number = self._sequence + 1
        self._append(seal(FRAMES, self._recording, number, body))
        self._sequence = number

    def _append(self, data: bytes) -> None:
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except BaseException as error:
            # Also of a signal: what is half written would hide all that comes behind it.
            os.ftruncate(self._fd, self.written)
            os.lseek(self._fd, self.written, os.SEEK_SET)
            if isinstance(error, OSError):
                raise LpttraceError(
                    f"cannot write to {self.path}: {_why(error)}; what is in it can be read"
                ) from error
            raise
        self.written += len(data)

    def __enter__(self) -> FileWriter:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing more will come."""
        self.close()

    def close(self) -> None:
        """The same, which may be said again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def write_file(path: Path, host: RecordedHost, bodies: Iterable[Body]) -> int:
    """All of a recording at once, which appears whole; its size. LpttraceError if nothing does."""
    unfinished = path.with_name(path.name + ".part")
    try:
        with FileWriter(unfinished, host, overwrite=True) as writer:
            for body in bodies:
                writer.write(body)
        _rename(unfinished, path)
    except (LpttraceError, OSError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        assert isinstance(cause, OSError)
        raise LpttraceError(f"cannot write {path}: {_why(cause)}") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return writer.written


def _rename(old: Path, new: Path) -> None:
    # Not over what is there. Not every file system has links: then the name is taken first.
    try:
        os.link(old, new)
    except FileExistsError:
        raise
    except OSError:
        os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640))
        old.rename(new)


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
