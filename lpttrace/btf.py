# SPDX-License-Identifier: GPL-2.0-only
"""Member offsets from a kernel's BTF (Documentation/bpf/btf.rst), without a library.

Only what the programs need: direct members of named structures.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from lpttrace.errors import HostError

__all__ = ["Btf", "read_btf"]

_MAGIC = 0xEB9F
_HEADER = struct.Struct("=HBBIIIII")
_STRUCT = 4
# Words that follow a type's three, by kind: (fixed, per element). Kinds not here have none.
_EXTRA = {
    1: (1, 0),  # INT
    3: (3, 0),  # ARRAY
    4: (0, 3),  # STRUCT
    5: (0, 3),  # UNION
    6: (0, 2),  # ENUM
    13: (0, 2),  # FUNC_PROTO
    14: (1, 0),  # VAR
    15: (0, 3),  # DATASEC
    17: (1, 0),  # DECL_TAG
    19: (0, 3),  # ENUM64
}


class Btf:
    """Types of one BTF blob."""

    def __init__(self, data: bytes) -> None:
        """Take the blob apart; HostError if it is not BTF of this machine's byte order."""
        if len(data) < _HEADER.size:
            raise HostError("cannot use the kernel's BTF: it is shorter than its header")
        magic, _, _, length, type_off, type_len, str_off, str_len = _HEADER.unpack_from(data)
        if magic != _MAGIC:
            raise HostError(f"cannot use the kernel's BTF: magic 0x{magic:04x}, not 0x{_MAGIC:04x}")
        types = data[length + type_off : length + type_off + type_len]
        self._words = memoryview(types).cast("I")
        self._strings = data[length + str_off : length + str_off + str_len]

    def _structs(self) -> Iterator[tuple[int, int, int, int]]:
        # Each structure as (name offset, first member's index, members, bit-field flag).
        words, at, end = self._words, 0, len(self._words)
        extra = _EXTRA
        while at < end:
            info = words[at + 1]
            kind = info >> 24 & 0x1F
            if kind == _STRUCT:
                yield words[at], at + 3, info & 0xFFFF, info >> 31
            fixed, each = extra.get(kind, (0, 0))
            at += 3 + fixed + each * (info & 0xFFFF)

    def _name_at(self, offset: int) -> bytes:
        return self._strings[offset : self._strings.index(b"\0", offset)]

    def _name_offset(self, name: str) -> int:
        # Names are stored once, whole or as the tail of a longer one; whole is what dedup leaves.
        return self._strings.find(b"\0" + name.encode() + b"\0") + 1

    def offsets(self, structure: str, members: tuple[str, ...]) -> dict[str, int]:
        """Offsets in bytes of direct members by name; HostError if one is not there."""
        wanted = self._name_offset(structure)
        found: dict[str, int] = {}
        for name, first, count, bit_fields in self._structs():
            if name == wanted:
                found = self._members(first, count, bit_fields)
                break
        for member in members:
            if member not in found:
                raise HostError(f"cannot find struct {structure}.{member} in the kernel's BTF")
        return {member: found[member] for member in members}

    def _members(self, first: int, count: int, bit_fields: int) -> dict[str, int]:
        words = self._words
        return {
            self._name_at(words[at]).decode(): (
                words[at + 2] & 0xFFFFFF if bit_fields else words[at + 2]
            )
            // 8
            for at in range(first, first + 3 * count, 3)
        }


def read_btf(path: Path) -> Btf:
    """The BTF in a file such as /sys/kernel/btf/vmlinux; OSError as open() raises it."""
    return Btf(path.read_bytes())
