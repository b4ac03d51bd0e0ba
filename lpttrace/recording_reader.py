# SPDX-License-Identifier: GPL-2.0-only
"""A recording to read: from the begin, or a frame here and there.

It ends where the first thing is that was not written so, and then `problem` says that.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, BinaryIO, Optional

from lpttrace.recording_blocks import Block, BlockFrames, First
from lpttrace.recording_decode import NONSENSE, apply, ends_in, first_change, shape_of, unfold
from lpttrace.recording_encode import NO_FRAME
from lpttrace.recording_format import (
    BLOCK_BYTES,
    FRAMES,
    MOST_FRAMES,
    SCHEMA,
    START_BYTES,
    BlockHead,
    RecordingError,
    check_start,
    unseal,
)
from lpttrace.recording_schema import Schema, parse_schema
from lpttrace.recording_types import Frame, RecordedHost
from lpttrace.snapshot import VmKey

__all__ = ["Recording"]


class Recording(BlockFrames):
    """Frames of a file. A context manager; what is added to the file meanwhile is not seen."""

    def __init__(self, path: str) -> None:
        """RecordingError if it is no recording, or cannot even be read to its first frame;
        ProtocolError if it is one that this lpttrace does not know how to read."""
        self.path = path
        self._problem: Optional[str] = None
        self._file, self._size = _open(path)
        try:
            check_start(self._file.read(START_BYTES), path)
            self._host, self._schema, self._run, self._id = self._begin()
            self.blocks = tuple(self._index())
        except BaseException:
            self._file.close()
            raise

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        value: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._file.close()

    @property
    def host(self) -> RecordedHost:
        """Where it was made."""
        return self._host

    @property
    def run(self) -> Optional[bytes]:
        """The same for all files that one `record` has written; None if this has none."""
        return self._run

    @property
    def problem(self) -> Optional[str]:
        """Where it is cut off or damaged, as far as it has been read."""
        return self._problem

    def follows(self, block: Block, last_ns: int, end_ns: int) -> bool:
        """Whether time goes on; where it does not, the recording ends."""
        if end_ns < last_ns:
            self._ends(block.offset)
        return end_ns >= last_ns

    def is_end(self, block: Block) -> bool:
        """Whether this block, or one before, is damaged."""
        return self._problem is not None and self._end <= block.offset

    def _begin(self) -> tuple[RecordedHost, Schema, Optional[bytes], bytes]:
        head = BlockHead.parse(self._file.read(BLOCK_BYTES))
        if head is not None and head.kind == SCHEMA and head.sequence == 0:
            plain = self._plain(Block(START_BYTES, head))
            found = parse_schema(plain) if plain is not None else None
            if found is not None:
                return (*found, head.recording)
        raise RecordingError(f"cannot read {self.path}: it is damaged before its first frame")

    def _index(self) -> Iterator[Block]:
        # By the heads of the blocks alone: a day is looked through in no time.
        offset, number = START_BYTES, 0
        self._end = self._size
        while offset < self._size:
            self._file.seek(offset)
            head = BlockHead.parse(self._file.read(BLOCK_BYTES))
            if head is None or not self._fits(head, number, offset):
                self._ends(offset)
                return
            if number:
                yield Block(offset, head)
            offset += BLOCK_BYTES + head.packed
            number += 1

    def _fits(self, head: BlockHead, number: int, offset: int) -> bool:
        kind = FRAMES if number else SCHEMA
        known = head.kind == kind and head.recording == self._id and head.sequence == number
        whole = offset + BLOCK_BYTES + head.packed <= self._size
        return known and whole and (not number or 0 < head.frames <= MOST_FRAMES)

    def _plain(self, block: Block) -> Optional[bytes]:
        if block.offset + BLOCK_BYTES + block.head.packed > self._size:
            return None
        self._file.seek(block.offset + BLOCK_BYTES)
        return unseal(block.head, self._file.read(block.head.packed))

    def first_of(self, block: Block) -> Optional[First]:
        """Its first frame; None if it is damaged."""
        plain = self._plain(block)
        try:
            change = None if plain is None else first_change(plain)
            if change is not None:
                return First(*shape_of(change), lambda: self._make(block, change))
        except NONSENSE:
            pass
        self._ends(block.offset)
        return None

    def _make(self, block: Block, change: Any) -> Optional[Frame]:
        try:
            return apply(NO_FRAME, change, self._schema)
        except NONSENSE:
            self._ends(block.offset)
            return None

    def ends_of(self, block: Block) -> Mapping[VmKey, int]:
        """VMs that are not alive in it, and since when; none if it is damaged."""
        plain = self._plain(block)
        try:
            return {} if plain is None else ends_in(plain)
        except NONSENSE:
            return {}

    def frames_of(self, block: Block) -> Iterator[Frame]:
        """All of them; fewer if it is damaged."""
        plain = self._plain(block)
        if plain is None:
            self._ends(block.offset)
            return
        found = 0
        try:
            for frame in unfold(plain, self._schema):
                found += 1
                if found > block.head.frames:
                    break
                yield frame
        except NONSENSE:
            found = 0
        if found != block.head.frames:
            self._ends(block.offset)

    def _ends(self, offset: int) -> None:
        if self._problem is None or offset < self._end:
            self._end = offset
            self._problem = (
                f"{self.path} is cut off or damaged at byte {offset} of {self._size}: what comes "
                "before is read"
            )


def _open(path: str) -> tuple[BinaryIO, int]:
    # Not to wait for a pipe that nobody writes to.
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise RecordingError(f"cannot read {path}: {why}") from error
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        raise RecordingError(f"cannot read {path}: it is not a regular file")
    return os.fdopen(fd, "rb"), status.st_size
