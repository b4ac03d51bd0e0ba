# SPDX-License-Identifier: GPL-2.0-only
"""Damages recordings in every way it knows, and reads them.

Usage: python -m tests.unit.fuzz_recording COUNT SEED. What was not recorded must not be read as
frames. What somebody wrote with right checksums may be, but must neither raise anything else than
our errors, nor hang, nor take more than 256 MiB.
"""

from __future__ import annotations

import importlib
import io
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import accumulate
from pathlib import Path
from typing import Any, Callable, Optional, Union

import msgpack
import zstandard

from lpttrace import frame_json, frame_text
from lpttrace.errors import LpttraceError
from lpttrace.exporter_rows import Run
from lpttrace.exporter_tables import tabulate
from lpttrace.model import compare, tally
from lpttrace.recording_format import (
    BLOCK_BYTES,
    START_BYTES,
    BlockHead,
    Body,
    pack,
    seal,
    unseal,
)
from lpttrace.recording_reader import Recording
from lpttrace.recording_types import Frame
from tests.unit.recorded import SECOND, everything, record, synthetic

MOST_MEMORY = 256 * 2**20
_RUN = Run("1.0", "replay", "3.11", "6.1", 0.0)
_ALL = frame_text.TextOptions(True, True, 120, "", True)
_USED, _SHARE = ("_values", "_content", "_schema", "_lengths"), 0.1
_HUGE = (0, 1, 255, 2**16, 2**24, 2**28, 2**31, 2**32 - 1)


@dataclass(frozen=True)
class Base:
    """A recording, and what is in it."""

    data: bytes
    frames: list[Frame]

    def blocks(self) -> list[bytes]:
        """Whole blocks, that of the schema first."""
        found, at = [], START_BYTES
        while at < len(self.data):
            head = head_of(self.data[at:])
            end = at + BLOCK_BYTES + head.packed
            found.append(self.data[at:end])
            at = end
        return found

    def is_begun(self, data: bytes) -> bool:
        """Whether data is what was written so far after one of the blocks."""
        ends = accumulate(map(len, self.blocks()), initial=START_BYTES)
        return data in [self.data[:end] for end in ends]


def head_of(block: bytes) -> BlockHead:
    head = BlockHead.parse(block[:BLOCK_BYTES])
    assert head is not None
    return head


def bases(directory: Path) -> list[Base]:
    made = [
        everything(),
        synthetic(2, 2, 8, 4 * SECOND),
        synthetic(1, 1, 5, 9 * SECOND),
        synthetic(4, 1, 1),
    ]
    paths = [record(directory / str(number), frames) for number, frames in enumerate(made)]
    return [Base(path.read_bytes(), frames) for path, frames in zip(paths, made)]


class Mutator:
    """Damages; what it does depends on the seed alone."""

    def __init__(self, seed: int, made: list[Base]) -> None:
        self._random = random.Random(seed)
        self._bases = made
        # Whether frames that come out must be those that went in.
        self._kinds: list[tuple[Callable[[Base], bytes], bool]] = [
            *((self._bits, True), (self._bytes, True), (self._truncated, True)),
            *((self._moved, True), (self._spliced, True), (self._foreign, True)),
            *((self._lengths, False), (self._bomb, False), (self._values, False)),
            *((self._content, False), (self._schema, False)),
        ]

    def next(self) -> tuple[str, Base, bytes, bool]:
        """What was done, to which recording, and what it is now; whether it must be a prefix."""
        # Those that are slow to read come seldom.
        rare = self._random.random() < 0.005
        kind, strict = (self._dense, False) if rare else self._random.choice(self._kinds)
        base = self._random.choice(self._bases)
        return kind.__name__, base, kind(base), strict

    def chance(self, share: float) -> bool:
        """True in such a share of calls."""
        return self._random.random() < share

    def _place(self, data: Union[bytes, bytearray]) -> int:
        # Heads are a small part of a file, and the most of its logic.
        if self._random.random() < 0.3:
            return self._random.randrange(min(len(data), START_BYTES + BLOCK_BYTES))
        return self._random.randrange(len(data))

    def _bits(self, base: Base) -> bytes:
        data = bytearray(base.data)
        for _ in range(self._random.choice((1, 1, 1, 2, 8))):
            data[self._place(data)] ^= 1 << self._random.randrange(8)
        return bytes(data)

    def _bytes(self, base: Base) -> bytes:
        data, at = bytearray(base.data), self._place(base.data)
        length = self._random.choice((1, 2, 4, 8, 64, 4096))
        filler = self._random.choice((bytes(length), b"\xff" * length, self._noise(length)))
        data[at : at + length] = filler[: len(data) - at]
        return bytes(data)

    def _noise(self, length: int) -> bytes:
        return bytes(self._random.getrandbits(8) for _ in range(length))

    def _truncated(self, base: Base) -> bytes:
        end = self._place(base.data)
        return base.data[:end] + self._random.choice((b"", bytes(64), self._noise(64)))

    def _moved(self, base: Base) -> bytes:
        # Bytes that are lost, twice there, or another's.
        data, at = base.data, self._place(base.data)
        length = self._random.randint(1, 200)
        other = self._random.choice(self._bases).data
        return self._random.choice(
            (
                data[:at] + data[at + length :],
                data[: at + length] + data[at:],
                data[:at] + other[at : at + length] + data[at:],
            )
        )

    def _spliced(self, base: Base) -> bytes:
        blocks = base.blocks()
        first, second = (self._random.randrange(len(blocks)) for _ in range(2))
        if self._random.random() < 0.5:
            blocks[first], blocks[second] = blocks[second], blocks[first]
        else:
            blocks.insert(first, blocks[second])
        return base.data[:START_BYTES] + b"".join(blocks)

    def _foreign(self, base: Base) -> bytes:
        blocks = base.blocks()
        others = self._random.choice([other for other in self._bases if other is not base]).blocks()
        at = self._random.randrange(1, len(blocks) + 1)
        blocks[at : at + self._random.randint(0, 1)] = [self._random.choice(others)]
        return base.data[:START_BYTES] + b"".join(blocks)

    def _resealed(self, base: Base, body: Callable[[BlockHead, bytes], Body], at: int) -> bytes:
        # With checksums that are right.
        blocks = base.blocks()
        head = head_of(blocks[at])
        plain = unseal(head, blocks[at][BLOCK_BYTES:])
        assert plain is not None
        blocks[at] = seal(head.kind, head.recording, head.sequence, body(head, plain))
        return base.data[:START_BYTES] + b"".join(blocks)

    def _some_block(self, base: Base) -> int:
        return self._random.randrange(1, len(base.blocks()))

    def _lengths(self, base: Base) -> bytes:
        blocks = base.blocks()
        at = self._random.randrange(len(blocks))
        head = head_of(blocks[at])
        fields = {
            "packed": head.packed,
            "plain": head.plain,
            "frames": head.frames,
            "sequence": head.sequence,
            "first_ns": head.first_ns,
            "last_ns": head.last_ns,
            "kind": head.kind,
        }
        name = self._random.choice(list(fields))
        fields[name] = self._random.choice(_HUGE)
        changed = BlockHead(recording=head.recording, checksum=head.checksum, **fields)
        blocks[at] = changed.pack() + blocks[at][BLOCK_BYTES:]
        return base.data[:START_BYTES] + b"".join(blocks)

    def _bomb(self, base: Base) -> bytes:
        size = self._random.choice((2**16, 2**18, 2**20, 2**24))
        seed = self._random.choice(
            (
                b"\0",
                b"\x90",
                b"\xdd\xff\xff\xff\xff",
                b"\x91",
                b"\xc6\x7f\xff\xff\xff",
                self._noise(7),
            )
        )
        content = seed * (size // len(seed))
        packed = zstandard.ZstdCompressor(3).compress(content)
        plain = self._random.choice((size, len(content), 2**18, 2**28, 2**32 - 1))

        def body(head: BlockHead, _: bytes) -> Body:
            return Body(packed, plain, head.frames, head.first_ns, head.last_ns)

        return self._resealed(base, body, self._random.randrange(len(base.blocks())))

    def _dense(self, base: Base) -> bytes:
        # As much as can be in a block that takes next to nothing in the file.
        count = self._random.choice((100, 3_000, 8_000, 12_000, 25_000))
        change = self._random.choice(
            ([], [None, [60, 1, 1, None, 113, 1]], [None, [60, 0, 0, [0] * 5]])
        )
        names = [0, 1, 0, 0, 0] * count if self._random.random() < 0.5 else [*range(5 * count)]
        changes = [[place, *change] for place in range(count // 2)]
        about: list[Any] = [None, [], {}, [0, "", None, None, []]]
        frame = [1, 1, 1, about, None, [0, 1], [[0, 1, True, None, None]], [], names, changes]
        more = [2, 2, 2, None, None, None, [], [], None, changes]

        def body(head: BlockHead, _: bytes) -> Body:
            frame[7] = [[0, "1", "dense", 1]]
            packed = _packed(frame) + _packed(more) * (head.frames - 1)
            small = zstandard.ZstdCompressor(3).compress(packed)
            return Body(small, len(packed), head.frames, head.first_ns, head.last_ns)

        return self._resealed(base, body, self._some_block(base))

    def _content(self, base: Base) -> bytes:
        def body(head: BlockHead, plain: bytes) -> Body:
            data = bytearray(plain)
            for _ in range(self._random.randint(1, 4)):
                data[self._random.randrange(len(data))] = self._random.getrandbits(8)
            return pack(bytes(data), head.frames, head.first_ns, head.last_ns)

        return self._resealed(base, body, self._some_block(base))

    def _values(self, base: Base) -> bytes:
        def body(head: BlockHead, plain: bytes) -> Body:
            frames = list(msgpack.Unpacker(io.BytesIO(plain)))
            for _ in range(self._random.randint(1, 3)):
                self._spoil(frames)
            packed = b"".join(map(_packed, frames))
            return pack(packed, len(frames), head.first_ns, head.last_ns)

        return self._resealed(base, body, self._some_block(base))

    def _schema(self, base: Base) -> bytes:
        def body(head: BlockHead, plain: bytes) -> Body:
            document = msgpack.unpackb(plain)
            self._spoil(document)
            return pack(_packed(document))

        return self._resealed(base, body, 0)

    def _spoil(self, value: Any) -> None:
        # Down a random way, to something that is then something else.
        while True:
            keys = list(value) if isinstance(value, dict) else list(range(len(value)))
            if not keys:
                return
            key = self._random.choice(keys)
            if isinstance(value[key], (list, dict)) and self._random.random() < 0.9:
                value = value[key]
                continue
            value[key] = self._something(value[key])
            return

    def _something(self, value: Any) -> Any:
        if isinstance(value, int) and self._random.random() < 0.5:
            return max(
                -(2**63), min(2**64 - 1, value + self._random.choice((-1, 1, 2**40, -(2**40))))
            )
        return self._random.choice(
            (
                *(None, True, False, 0, -1, 1, 2**63, 2**64 - 1, -(2**63), 1e308, float("nan")),
                *("", "x" * 1000, "\u202e\x1b[2J", b"\xff", [], {}, [[]], [1, 2, 3], {"a": 1}),
                *([value] * 3, [0] * 50_000, [[0, 0, 0, None]] * 1000),
            )
        )


def _packed(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value)
    return packed


def consume(path: Path, expected: Optional[list[Frame]]) -> tuple[int, str]:
    """How many frames there are, and why not more. AssertionError if they are not the first of
    those expected."""
    number = 0
    try:
        with Recording(str(path)) as recording:
            # What was recorded has been shown elsewhere.
            for frame in recording.frames() if expected else use(recording.frames()):
                assert expected is None or frame == expected[number]
                number += 1
            for look_ns in (None, 10**7, 10**11):
                for _ in recording.thin(10**9 if look_ns is None else 10**12, look_ns=look_ns):
                    pass
            recording.count(10**9)
            return number, recording.problem or ""
    except LpttraceError as error:
        return number, str(error)


def use(frames: Iterator[Frame]) -> Iterator[Frame]:
    """The same, each of which has been shown and exported."""
    before = None
    for frame in frames:
        now, moment = (
            tally(frame.snapshot),
            datetime.fromtimestamp(frame.unix_ns / 1e9, timezone.utc),
        )
        model = compare(before, now, frame.guests)
        frame_json.encode(model, model.vms, moment)
        frame_text.frame(model, model.vms, moment, _ALL)
        tabulate(frame.snapshot, frame.guests, _RUN)
        before = now
        yield frame


def check(path: Path, mutator: Mutator, use_all: Callable[[Path], None]) -> str:
    """Read one; what happened, in a word."""
    kind, base, data, strict = mutator.next()
    path.write_bytes(data)
    number, problem = consume(path, base.frames if strict else None)
    if kind in _USED and mutator.chance(_SHARE):
        # What can only be wrong where its checksums are right.
        use_all(path)
    # A recording has no end but its last block: cut off after one, it is a shorter one.
    whole_so_far = number == len(base.frames) or base.is_begun(data)
    assert problem or not strict or whole_so_far, kind
    whole = "whole" if not problem else "part" if number else "refused"
    return f"{kind[1:]} {whole}"


def _mapped() -> int:
    # Libraries take address space, which is not memory.
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def main(count: int, seed: int) -> None:
    """So many; prints what happened how often."""
    before = _mapped()
    use_all = importlib.import_module("tests.unit.fuzz_uses").use_all
    most = MOST_MEMORY + _mapped() - before
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    seen: Counter[str] = Counter()
    longest, begin = 0.0, time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        mutator = Mutator(seed, bases(Path(directory)))
        for number in range(count):
            started = time.monotonic()
            try:
                seen[check(Path(directory) / "damaged", mutator, use_all)] += 1
            except BaseException:
                print(f"mutation {number} of seed {seed}", file=sys.stderr)
                raise
            longest = max(longest, time.monotonic() - started)
    for what, times in sorted(seen.items()):
        print(f"{times:8} {what}")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{count} in {time.monotonic() - begin:.0f} s, the longest {longest:.2f} s, {most} MiB")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
