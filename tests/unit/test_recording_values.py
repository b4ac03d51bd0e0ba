# SPDX-License-Identifier: GPL-2.0-only
"""What is claimed, or made of next to nothing, costs little."""

from __future__ import annotations

import contextlib
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgpack
import pytest

from lpttrace.recording_values import changes_in, schema_in

MIB = 2**20
FRAME = [1, 2, 3, [None, [], {"a": 1}], None, [0, 1], [[0, 1, True]], [], [0, 1, 2, 3, 4], [[0]]]


def packed(value: Any) -> bytes:
    data: bytes = msgpack.packb(value)
    return data


def tuples(value: Any) -> Any:
    return tuple(map(tuples, value)) if isinstance(value, list) else value


def used(fields: Sequence[Any]) -> list[Any]:
    return [tuple(field) if isinstance(field, Iterator) else field for field in fields]


def with_field(place: int, data: bytes) -> bytes:
    fields = [packed(field) for field in FRAME]
    return b"\x9a" + b"".join([*fields[:place], data, *fields[place + 1 :]])


def test_frames_come_one_after_another() -> None:
    assert [used(fields) for fields in changes_in(packed(FRAME) * 3)] == [
        list(tuples(FRAME)) for _ in range(3)
    ]
    assert list(changes_in(b"")) == []


@pytest.mark.parametrize("length", range(1, len(packed(FRAME))))
def test_what_has_no_end_comes_to_nothing(length: int) -> None:
    frames = changes_in(packed(FRAME) + packed(FRAME)[:length])
    next(frames)
    with pytest.raises(ValueError, match="no end"):
        next(frames)


@pytest.mark.parametrize("value", [7, [1] * 9, [1] * 11, {}, None])
def test_what_is_no_frame(value: Any) -> None:
    with pytest.raises(ValueError):
        next(changes_in(packed(value)))


@pytest.mark.parametrize("place", [6, 7, 9])
def test_of_many_each_is_made_when_it_is_asked_for(place: int) -> None:
    made = [[number, "x" * 10, None] for number in range(50_000)]
    (fields,) = changes_in(with_field(place, packed(made)))
    assert isinstance(fields[place], Iterator)
    assert used(fields)[place] == tuples(made)


@pytest.mark.parametrize("place", [5, 8])
@pytest.mark.parametrize("value", [[[1]], {1: 2}, [{}], [0] * (5 * 131_072 + 1)])
def test_numbers_are_nothing_else(place: int, value: Any) -> None:
    with pytest.raises(ValueError):
        next(changes_in(with_field(place, packed(value))))


def array(content: bytes) -> bytes:
    """As many as there are bytes."""
    return b"\xdd" + len(content).to_bytes(4, "big") + content


BOMBS: dict[str, bytes] = {
    "maps": array(b"\x80" * 8 * MIB),
    "arrays": b"\xdd" + (4 * MIB).to_bytes(4, "big") + b"\x91\x01" * 4 * MIB,
    "numbers": b"\xdd" + (2 * MIB).to_bytes(4, "big") + b"\xcd\x12\x34" * 2 * MIB,
    "claims": (b"\xdd" + (8 * MIB).to_bytes(4, "big")) * 1000 + b"\x01" * 8 * MIB,
}


def first_of_many(data: bytes) -> None:
    for fields in changes_in(data):
        for field in fields:
            for item in field if isinstance(field, Iterator) else ():
                assert item in ({}, (1,), 0x1234)
                return
    raise ValueError("refused")


@pytest.mark.parametrize("place", range(10))
@pytest.mark.parametrize("kind", BOMBS)
def test_bombs(kind: str, place: int) -> None:
    assert peak(first_of_many, with_field(place, BOMBS[kind])) < 32 * MIB


@pytest.mark.parametrize("kind", BOMBS)
def test_bombs_as_a_schema(kind: str) -> None:
    assert peak(schema_in, BOMBS[kind]) < MIB


def peak(read: Callable[[bytes], Any], data: bytes) -> int:
    tracemalloc.start()
    try:
        with contextlib.suppress(ValueError):
            read(data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
