# SPDX-License-Identifier: GPL-2.0-only
"""Member offsets from a kernel's BTF (Documentation/bpf/btf.rst), without a library.

Only what the programs need: members of structures, sizes, and enumerators.
"""

from __future__ import annotations

import struct
from array import array
from pathlib import Path
from typing import Optional

from lpttrace.errors import HostError

__all__ = ["Btf", "read_btf"]

_MAGIC = 0xEB9F
_HEADER = struct.Struct("=HBBIIIII")
_STRUCT, _UNION, _ENUM = 4, 5, 6
# TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG: other names of the type they refer to.
_ALIASES = (8, 9, 10, 11, 18)
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
        self._named: dict[tuple[int, int], int] = {}
        self._places = self._index()

    def _index(self) -> array[int]:
        # Where each type begins, by its id; and structures and enumerations by kind and name.
        words, at, end = self._words, 0, len(self._words)
        places, named, extra = array("I", [0]), self._named, _EXTRA
        while at < end:
            info = words[at + 1]
            kind = info >> 24 & 0x1F
            places.append(at)
            if _STRUCT <= kind <= _ENUM:
                named.setdefault((kind, words[at]), at)
            fixed, each = extra.get(kind, (0, 0))
            at += 3 + fixed + each * (info & 0xFFFF)
        return places

    def _name_at(self, offset: int) -> str:
        return self._strings[offset : self._strings.index(b"\0", offset)].decode()

    def _find(self, kind: int, name: str) -> Optional[int]:
        # Names are stored once, whole or as the tail of a longer one; whole is what dedup leaves.
        place = self._strings.find(b"\0" + name.encode() + b"\0") + 1
        # At 0 is the empty name, which unnamed types share.
        return self._named.get((kind, place)) if place else None

    def offset(self, path: str) -> int:
        """Bytes from the begin of a structure to a member: "kvm_vcpu.arch.ctxt" is that of
        arch.ctxt in struct kvm_vcpu. HostError if it is not there."""
        structure, *members = path.split(".")
        at, total = self._find(_STRUCT, structure), 0
        for member in members:
            found = None if at is None else self._member(at, member)
            if found is None:
                raise HostError(f"cannot find struct {path} in the kernel's BTF")
            total += found[0]
            at = self._resolve(found[1])
        return total

    def size(self, structure: str) -> int:
        """Bytes of a structure; HostError if it is not there."""
        at = self._find(_STRUCT, structure)
        if at is None:
            raise HostError(f"cannot find struct {structure} in the kernel's BTF")
        return self._words[at + 2]

    def enumerator(self, enumeration: str, name: str) -> int:
        """The value of an enumerator, not negative; HostError if it is not there."""
        at, words = self._find(_ENUM, enumeration), self._words
        if at is not None:
            for entry in range(at + 3, at + 3 + 2 * (words[at + 1] & 0xFFFF), 2):
                if self._name_at(words[entry]) == name:
                    return words[entry + 1]
        raise HostError(f"cannot find {name} of enum {enumeration} in the kernel's BTF")

    def _resolve(self, type_id: int) -> int:
        at = self._places[type_id]
        while self._words[at + 1] >> 24 & 0x1F in _ALIASES:
            at = self._places[self._words[at + 2]]
        return at

    def _member(self, at: int, name: str) -> Optional[tuple[int, int]]:
        # Offset in bytes and type of a member, also of an unnamed structure or union inside.
        words, info = self._words, self._words[at + 1]
        if info >> 24 & 0x1F not in (_STRUCT, _UNION):
            return None
        for entry in range(at + 3, at + 3 + 3 * (info & 0xFFFF), 3):
            offset = (words[entry + 2] & 0xFFFFFF if info >> 31 else words[entry + 2]) // 8
            if words[entry]:
                if self._name_at(words[entry]) == name:
                    return offset, words[entry + 1]
                continue
            inner = self._member(self._resolve(words[entry + 1]), name)
            if inner:
                return offset + inner[0], inner[1]
        return None


def read_btf(path: Path) -> Btf:
    """The BTF in a file such as /sys/kernel/btf/vmlinux; OSError as open() raises it."""
    return Btf(path.read_bytes())
