# SPDX-License-Identifier: GPL-2.0-only
"""BPF maps and programs by file descriptor: arrays in memory, and the few system calls beside.

No bcc here, so that the agent that reads for months does not carry a compiler.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import sys
import time
from types import TracebackType
from typing import Any, Optional

from lpttrace.errors import HostError

__all__ = [
    "MappedArray",
    "bpf",
    "delete",
    "element_attr",
    "insert",
    "keys",
    "lookup",
    "lookup_u32",
]

# asm/unistd.h of the two architectures that the programs load on.
_BPF_SYSCALL = {"aarch64": 280, "x86_64": 321}
_LOOKUP, _UPDATE, _DELETE, _NEXT_KEY = 1, 2, 3, 4
# A reading that meets the writer is repeated; the writer is at work for nanoseconds per trap,
# unless a hypervisor under this host has taken its CPU: then it is waited for.
_ATTEMPTS = 200
_IMPATIENT = 20
_WAIT_SECONDS = 0.0002

_libc = ctypes.CDLL(None, use_errno=True)


class _ElementAttr(ctypes.Structure):
    # union bpf_attr for BPF_MAP_*_ELEM commands (linux/bpf.h).
    _fields_ = [
        ("map_fd", ctypes.c_uint32),
        ("_pad", ctypes.c_uint32),
        ("key", ctypes.c_uint64),
        ("value", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
    ]


def bpf(command: int, attr: ctypes.Structure) -> tuple[int, int]:
    """The system call: its result, and 0 or an errno."""
    number = _BPF_SYSCALL.get(platform.machine())
    if number is None:
        raise HostError(f"cannot use BPF maps on {platform.machine()}: its bpf() is not known")
    result = _libc.syscall(number, command, ctypes.byref(attr), ctypes.sizeof(attr))
    return int(result), 0 if result >= 0 else ctypes.get_errno()


def element_attr(fd: int, key: Any, value: Any) -> ctypes.Structure:
    """The argument of a BPF_MAP_*_ELEM command; key and value are ctypes objects, or None."""
    addresses = [ctypes.addressof(it) if it is not None else 0 for it in (key, value)]
    return _ElementAttr(fd, 0, *addresses, 0)


def _bpf(
    command: int, fd: int, key: Optional[bytes], value: Optional[ctypes.Array[ctypes.c_char]]
) -> int:
    key_buffer = ctypes.create_string_buffer(key, len(key)) if key is not None else None
    return bpf(command, element_attr(fd, key_buffer, value))[1]


def insert(fd: int, index: int) -> None:
    """Put an index into a hash of u32 as key and value; OSError if it is full."""
    key = index.to_bytes(4, sys.byteorder)
    code = _bpf(_UPDATE, fd, key, ctypes.create_string_buffer(key, 4))
    if code:
        raise OSError(code, os.strerror(code))


def delete(fd: int, key: bytes) -> None:
    """Delete a key from a hash; one that is not there is no error."""
    _bpf(_DELETE, fd, key, None)


def lookup(fd: int, key: bytes, size: int) -> Optional[bytes]:
    """The value, of that many bytes, under a key of a hash, or None."""
    value = ctypes.create_string_buffer(size)
    return None if _bpf(_LOOKUP, fd, key, value) else value.raw


def lookup_u32(fd: int, key: bytes) -> Optional[int]:
    """The u32 under a key of a hash, or None."""
    value = lookup(fd, key, 4)
    return None if value is None else int.from_bytes(value, sys.byteorder)


def keys(fd: int, size: int) -> list[bytes]:
    """The keys of a hash, each of that many bytes, that were in it all the while."""
    found: list[bytes] = []
    key: Optional[bytes] = None
    value = ctypes.create_string_buffer(size)
    while not _bpf(_NEXT_KEY, fd, key, value):
        key = value.raw
        found.append(key)
    return found


class MappedArray:
    """A BPF_F_MMAPABLE array of ctypes structures, in this process's memory."""

    def __init__(
        self, fd: int, layout: type[ctypes.Structure], entries: int, window: int = 0
    ) -> None:
        """Map the array of that many entries; fd may be closed after.

        With a window, only so many entries are mapped at a time, so that a large array does not
        count as this process's memory. They are best read in order: another window is two system
        calls.
        """
        self.layout = layout
        self.entries = entries
        # The kernel rounds an element up to 8 bytes (kernel/bpf/arraymap.c).
        self.stride = (ctypes.sizeof(layout) + 7) // 8 * 8
        self._window = window or entries
        self._fd = os.dup(fd)
        try:
            self._memory = self._map(0)
        except BaseException:
            os.close(self._fd)
            raise

    def _map(self, number: int) -> mmap.mmap:
        # The window of that number, counted from 0; it begins at a page.
        first = number * self._window
        last = min(first + self._window, self.entries)
        begin = first * self.stride // mmap.PAGESIZE * mmap.PAGESIZE
        end = -(-last * self.stride // mmap.PAGESIZE) * mmap.PAGESIZE
        memory = mmap.mmap(self._fd, end - begin, offset=begin)
        self._number, self._begin = number, begin
        return memory

    def _at(self, index: int) -> int:
        # Where the element is in _memory.
        if index // self._window != self._number:
            memory = self._map(index // self._window)
            self._memory.close()
            self._memory = memory
        return index * self.stride - self._begin

    def __enter__(self) -> MappedArray:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        value: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()

    def close(self) -> None:
        """Unmap; idempotent."""
        self._memory.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def u32(self, index: int, field: str) -> int:
        """One 32-bit field of one element, as it is now."""
        at = self._at(index) + getattr(self.layout, field).offset
        return int.from_bytes(self._memory[at : at + 4], sys.byteorder)

    def copy(self, index: int, begin: int = 0, end: int = 0) -> bytes:
        """A part of one element, as it is now: for what is written once, or checked after."""
        at = self._at(index)
        return self._memory[at + begin : at + (end or self.stride)]

    def stable(self, index: int, end: int = 0) -> Optional[bytes]:
        """One element from its field `sequence` on, to end; None if its writer never paused.

        The writer makes the sequence odd, stores, and makes it even. Two equal readings with an
        even sequence between stores of one thread are one state: an update that is partly visible
        at the first reading is more visible at the second, at the latest with its sequence.
        """
        at = self._at(index)
        begin, stop = at + self.layout.sequence.offset, at + (end or self.stride)
        odd = 0 if sys.byteorder == "little" else 3
        for attempt in range(_ATTEMPTS):
            first = self._memory[begin:stop]
            if not first[odd] & 1 and first == self._memory[begin:stop]:
                return first
            if attempt >= _IMPATIENT:
                time.sleep(_WAIT_SECONDS)
        return None

    def write_u64(self, index: int, value: int) -> None:
        """Replace a word of 8 bytes; in one store, so that the programs see old or new."""
        memoryview(self._memory).cast("Q")[index] = value

    def clear(self, index: int) -> None:
        """Zero one element; only when nothing writes it."""
        at = self._at(index)
        self._memory[at : at + self.stride] = bytes(self.stride)
