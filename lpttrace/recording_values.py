# SPDX-License-Identifier: GPL-2.0-only
"""msgpack as it is read from a recording, of which nothing is trusted.

An array is made as soon as its length is read, and a byte can become a dict of 64: what is made
without a look at what it means is bounded here. Whatever is not as it should be is a ValueError.
"""

from __future__ import annotations

import io
from collections.abc import Container, Iterator, Sequence
from typing import Any

import msgpack

__all__ = ["changes_in", "schema_in"]

# A frame is an array of these, as recording_encode makes it: VM keys and vCPU names are numbers and
# nothing else, and of VMs, their names and vCPUs each is looked at before the next one is made.
_FIELDS = 10
_FLAT = frozenset([5, 8])
_MANY = frozenset([6, 7, 9])
# Of one thing; and of numbers, five each for more vCPUs than a host has.
_MOST_BYTES = 128 * 1024
_MOST_FLAT_BYTES = 4 * 1024 * 1024
_MOST_NUMBERS = 5 * 131_072


def schema_in(data: bytes) -> Any:
    """The only value in the first block."""
    return _made(memoryview(data))


def changes_in(data: bytes, places: Container[int] = range(_FIELDS)) -> Iterator[Sequence[Any]]:
    """The frames of a block as arrays, None in all other places; what is many in one may be an
    iterator, to be used up before the next frame is asked for."""
    # From a file, of which it has a few KiB at a time.
    ahead = msgpack.Unpacker(io.BytesIO(data), max_buffer_size=max(1, len(data)))
    view = memoryview(data)
    while ahead.tell() < len(data):
        ends = _ends(ahead)
        yield [
            _field(place, view[a:b]) if place in places else None
            for place, (a, b) in enumerate(zip(ends, ends[1:]))
        ]


def _ends(ahead: msgpack.Unpacker) -> Sequence[int]:
    try:
        if ahead.read_array_header() != _FIELDS:
            raise ValueError("not a frame")
        ends = [ahead.tell()]
        for _ in range(_FIELDS):
            ahead.skip()
            ends.append(ahead.tell())
    except msgpack.OutOfData as error:
        raise ValueError("a frame has no end") from error
    return ends


def _field(place: int, data: memoryview) -> Any:
    if place in _FLAT:
        return _flat(data)
    if place in _MANY and len(data) > _MOST_BYTES:
        return _one_by_one(data)
    return _made(data)


def _made(data: memoryview) -> Any:
    if len(data) > _MOST_BYTES:
        raise ValueError("more than there can be")
    return msgpack.unpackb(data, use_list=False)


def _flat(data: memoryview) -> Any:
    if len(data) > _MOST_FLAT_BYTES:
        raise ValueError("more than there can be")
    arrays = 0

    def hook(value: Any) -> Any:
        nonlocal arrays
        arrays += 1
        if arrays > 1 or len(value) > _MOST_NUMBERS or not isinstance(value, tuple):
            raise ValueError("not numbers")
        return value

    return msgpack.unpackb(data, use_list=False, list_hook=hook, object_hook=hook)


def _one_by_one(data: memoryview) -> Iterator[Any]:
    ahead = msgpack.Unpacker(io.BytesIO(data), max_buffer_size=len(data))
    count, begin = ahead.read_array_header(), ahead.tell()
    for _ in range(count):
        ahead.skip()
        yield _made(data[begin : ahead.tell()])
        begin = ahead.tell()
