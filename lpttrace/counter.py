# SPDX-License-Identifier: GPL-2.0-only
"""The frequency of the arm64 system counter, which the kernel tells nowhere but in its log."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform

__all__ = ["counter_frequency"]

# mrs x0, cntfrq_el0; ret. User space may always read this register (arm64 Linux's boot protocol
# has firmware set it; the kernel sets CNTKCTL_EL1.EL0VCTEN, which allows it).
_MRS_X0_CNTFRQ_RET = bytes.fromhex("00e03bd5c0035fd6")

_libc = ctypes.CDLL(None, use_errno=True)


def counter_frequency() -> int:
    """CNTFRQ_EL0 of this machine in Hz; OSError where that cannot be read."""
    if platform.machine() != "aarch64":
        raise OSError(errno.ENODEV, f"{platform.machine()} has no such register")
    hertz = _call(_MRS_X0_CNTFRQ_RET) & 0xFFFFFFFF
    if not hertz:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return hertz


def _call(code: bytes) -> int:
    # Made executable after it was written: only then does the kernel see to it that instruction
    # fetch finds what was stored, on CPUs whose caches do not do so themselves.
    with mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE) as page:
        page.write(code)
        first = ctypes.c_char.from_buffer(page)
        try:
            address = ctypes.addressof(first)
            protection = mmap.PROT_READ | mmap.PROT_EXEC
            if _libc.mprotect(ctypes.c_void_p(address), mmap.PAGESIZE, protection):
                failed = ctypes.get_errno()
                raise OSError(failed, os.strerror(failed))
            return int(ctypes.CFUNCTYPE(ctypes.c_uint64)(address)())
        finally:
            del first
