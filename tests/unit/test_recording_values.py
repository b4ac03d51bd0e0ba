# SPDX-License-Identifier: GPL-2.0-only
"""What is claimed costs nothing until it is there."""

from __future__ import annotations

import tracemalloc

import msgpack
import pytest

from lpttrace.recording_values import whole_values

MIB = 2**20


def test_values_come_one_after_another() -> None:
    made = [1, (2, (3, "x")), {"k": b"v"}, None]
    assert list(whole_values(b"".join(map(msgpack.packb, made)))) == made
    assert list(whole_values(b"")) == []


@pytest.mark.parametrize("length", range(1, 6))
def test_what_has_no_end_comes_to_nothing(length: int) -> None:
    data = msgpack.packb(7) + msgpack.packb((1, 2, 3, 4, 5))[:length]
    values = whole_values(data)
    assert next(values) == 7
    with pytest.raises(ValueError, match="no end"):
        next(values)


@pytest.mark.parametrize("opens", [b"\xdd", b"\xdf"], ids=["arrays", "maps"])
def test_arrays_in_arrays_that_claim_everything(opens: bytes) -> None:
    size = MIB
    claimed = opens + (size // 4).to_bytes(4, "big")
    data = (claimed * 1000).ljust(size, b"\x01")
    tracemalloc.start()
    try:
        with pytest.raises(ValueError):
            list(whole_values(data))
        assert tracemalloc.get_traced_memory()[1] < 32 * MIB
    finally:
        tracemalloc.stop()
