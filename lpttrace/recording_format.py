# SPDX-License-Identifier: GPL-2.0-only
"""A recording as bytes: a magic, then blocks, each with checksums of its own.

Nothing here knows what is in a block; docs/recording.md does.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from typing import Optional

import zstandard

from lpttrace.errors import LpttraceError, ProtocolError

__all__ = [
    "BLOCK_NS",
    "BLOCK_BYTES",
    "FRAMES",
    "ID_BYTES",
    "MAGIC",
    "MOST_FRAMES",
    "SCHEMA",
    "START_BYTES",
    "BlockHead",
    "Body",
    "RecordingError",
    "check_start",
    "make_id",
    "pack",
    "seal",
    "start",
    "unseal",
]

MAGIC = b"\x89LPTREC\n"
VERSION = 1

SCHEMA, FRAMES = 1, 2
"""Kinds of blocks."""

MOST_FRAMES = 256
"""In a block."""
BLOCK_NS = 9_500_000_000
"""A block with frames of so long is whole: it is what is lost at most when the machine stops, and
what must be read to see one frame."""

ID_BYTES = 8

_START = struct.Struct("<8sII")
_HEAD = struct.Struct("<4sI8sIIQQIII")
_CRC = struct.Struct("<I")
_BLOCK_MAGIC = b"LPTB"

START_BYTES = _START.size
BLOCK_BYTES = _HEAD.size + _CRC.size
"""Of a block before what is packed in it."""

# What a block unfolds to has an end that grows with its bytes in the file, so that no small file
# takes much memory. A block that could be packed better than that is stored as it is.
_FREE_BYTES = 64 * 1024
_RATIO = 8
_MOST_BYTES = 256 * 1024 * 1024

# Half of what zlib makes of it, in a third of the time; higher levels gain a tenth.
_LEVEL = 3


class RecordingError(LpttraceError):
    """A file that is no recording, or is damaged before its first frame."""


@dataclass(frozen=True)
class BlockHead:
    """What a block says of itself: first_ns and last_ns are Unix times of its frames."""

    kind: int
    recording: bytes
    sequence: int
    frames: int
    first_ns: int
    last_ns: int
    packed: int
    plain: int
    checksum: int

    @classmethod
    def parse(cls, data: bytes) -> Optional[BlockHead]:
        """None if that is not the whole head of a block, as it was written."""
        if len(data) != BLOCK_BYTES:
            return None
        magic, *values = _HEAD.unpack_from(data)
        if magic != _BLOCK_MAGIC or _CRC.unpack_from(data, _HEAD.size)[0] != zlib.crc32(
            data[: _HEAD.size]
        ):
            return None
        head = cls(*values)
        return head if head.plain <= _most_plain(head.packed) else None

    def pack(self) -> bytes:
        """As it is written."""
        head = _HEAD.pack(
            *(_BLOCK_MAGIC, self.kind, self.recording, self.sequence, self.frames),
            *(self.first_ns, self.last_ns, self.packed, self.plain, self.checksum),
        )
        return head + _CRC.pack(zlib.crc32(head))


def _most_plain(packed: int) -> int:
    return min(_FREE_BYTES + _RATIO * packed, _MOST_BYTES)


def make_id() -> bytes:
    """That of a new recording: a block of another one is not taken for one of it."""
    return os.urandom(ID_BYTES)


def start() -> bytes:
    """What a recording begins with."""
    return _START.pack(MAGIC, VERSION, 0)


def check_start(data: bytes, path: str) -> None:
    """RecordingError or ProtocolError if data is not what a recording of ours begins with."""
    if len(data) < START_BYTES or not data.startswith(MAGIC):
        raise RecordingError(f"cannot read {path}: it is not a recording of lpttrace")
    version = _START.unpack(data)[1]
    if version != VERSION:
        raise ProtocolError(
            f"cannot read {path}: its format is version {version}, this lpttrace reads {VERSION}; "
            "use the lpttrace that recorded it"
        )


@dataclass(frozen=True)
class Body:
    """What a block is made of, whichever recording it will be in; first_ns and last_ns are Unix
    times, begin_ns and end_ns those of the same frames by CLOCK_MONOTONIC."""

    packed: bytes
    plain: int
    frames: int = 0
    first_ns: int = 0
    last_ns: int = 0
    begin_ns: int = 0
    end_ns: int = 0


def pack(plain: bytes, frames: int = 0, *times_ns: int) -> Body:
    """As it will be written."""
    packed = zstandard.ZstdCompressor(_LEVEL).compress(plain)
    if len(packed) >= len(plain) or len(plain) > _most_plain(len(packed)):
        packed = plain
    return Body(packed, len(plain), frames, *times_ns)


def seal(kind: int, recording: bytes, sequence: int, body: Body) -> bytes:
    """A whole block."""
    times = body.frames, body.first_ns, body.last_ns
    sizes = len(body.packed), body.plain, zlib.crc32(body.packed)
    return BlockHead(kind, recording, sequence, *times, *sizes).pack() + body.packed


def unseal(head: BlockHead, packed: bytes) -> Optional[bytes]:
    """What is in a block; None if that is not what was written."""
    if len(packed) != head.packed or zlib.crc32(packed) != head.checksum:
        return None
    if head.packed == head.plain:
        return packed
    unpacker = zstandard.ZstdDecompressor(max_window_size=_MOST_BYTES).decompressobj()
    try:
        # It says itself how long it is, is held to that, and nothing has been set aside for it yet.
        if zstandard.frame_content_size(packed) != head.plain:
            return None
        plain = unpacker.decompress(packed)
    except zstandard.ZstdError:
        return None
    return plain if len(plain) == head.plain and not unpacker.unused_data else None
