# SPDX-License-Identifier: GPL-2.0-only
"""msgpack as it is read from a recording, of which nothing is trusted."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import msgpack

__all__ = ["whole_values"]


def whole_values(data: bytes) -> Iterator[Any]:
    """The values in data, arrays as tuples; ValueError where one is damaged, or has no end.

    An array is made as soon as its length is read, and each of many in one another can claim all
    of data. So a value is passed over before it is made: what is whole has what it claims to have.
    """
    # From a file, of which it has a few KiB at a time.
    ahead = msgpack.Unpacker(io.BytesIO(data), max_buffer_size=max(1, len(data)))
    view, begin = memoryview(data), 0
    while begin < len(data):
        try:
            ahead.skip()
        except msgpack.OutOfData as error:
            raise ValueError("a value has no end") from error
        yield msgpack.unpackb(view[begin : ahead.tell()], use_list=False)
        begin = ahead.tell()
