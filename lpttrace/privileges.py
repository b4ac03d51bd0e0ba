# SPDX-License-Identifier: GPL-2.0-only
"""Giving up what only attaching needs: capabilities(7), by the system calls themselves."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from pathlib import Path

__all__ = ["KEPT", "drop_privileges", "effective"]

_DAC_READ_SEARCH, _SYS_PTRACE, _BPF = 2, 19, 39

KEPT = frozenset({_DAC_READ_SEARCH, _SYS_PTRACE, _BPF})
"""What reading needs: maps (CAP_BPF), which program a VMM is (CAP_SYS_PTRACE, for /proc/PID/exe of
other users), and libvirt's files and the web configuration (CAP_DAC_READ_SEARCH)."""

# linux/capability.h and linux/prctl.h.
_VERSION_3 = 0x20080522
_PR_SET_NO_NEW_PRIVS, _PR_CAPBSET_DROP, _PR_CAP_AMBIENT = 38, 24, 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4

_libc = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Data(ctypes.Structure):
    # One for capabilities 0 to 31, one for the rest.
    _fields_ = [
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    ]


def effective() -> frozenset[int]:
    """The numbers of this thread's effective capabilities."""
    text = Path("/proc/thread-self/status").read_text()
    line = next(line for line in text.splitlines() if line.startswith("CapEff:"))
    word = int(line.split()[1], 16)
    return frozenset(number for number in range(64) if word >> number & 1)


def drop_privileges(kept: frozenset[int] = KEPT) -> None:
    """Keep of this thread's capabilities these at most, and gain none by executing anything.

    Threads that it starts later inherit that; there must be no others yet. OSError if the kernel
    refuses.
    """
    remaining = effective() & kept
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    # What is bounded matters to executables that have capabilities, of which there are none any
    # more: not being allowed to is no reason to stop.
    with suppress(PermissionError):
        for number in range(_last_capability() + 1):
            if number not in kept:
                _prctl(_PR_CAPBSET_DROP, number)
    words = [sum(1 << n % 32 for n in remaining if n // 32 == half) for half in (0, 1)]
    data = (_Data * 2)(*[_Data(word, word, 0) for word in words])
    if _libc.capset(ctypes.byref(_Header(_VERSION_3, 0)), data):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _last_capability() -> int:
    return int(Path("/proc/sys/kernel/cap_last_cap").read_text())


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
