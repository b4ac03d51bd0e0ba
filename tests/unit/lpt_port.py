# SPDX-License-Identifier: GPL-2.0-only
"""What lpt_publish() of deploy/lab/kernel/lpt-6.1.patch does, as C does it: in bytes."""

from __future__ import annotations

import struct
from typing import Optional

__all__ = ["FIELDS", "U64", "publish"]

U64 = (1 << 64) - 1
# struct pvclock_vm_lpt_time: __le32 2x, __le64, __le32 2x, __le64 2x, __le32 2x.
_LAYOUT = struct.Struct("<IIQIIQQII")
FIELDS = (
    *("revision", "attributes", "sequence_number", "native_freq", "pv_freq"),
    *("scale_mult", "rscale_mult", "fracbits", "rfracbits"),
)


def publish(memory: bytes, native_hz: int, promised_hz: int) -> Optional[bytes]:
    """The guest's memory after the update; None if it is refused. Timers can be rescaled always:
    the port refuses more."""
    old = dict(zip(FIELDS, _LAYOUT.unpack_from(memory)))
    sequence = old["sequence_number"] & ~1 & U64
    if sequence and (old["pv_freq"] != promised_hz or not old["native_freq"]):
        return None
    fracbits, mult = _lpt_scale(native_hz, promised_hz)
    rfracbits, rmult = _lpt_scale(promised_hz, native_hz)
    head = (0, 0, (sequence + 2) & U64, native_hz, promised_hz)
    return _LAYOUT.pack(*head, mult, rmult, fracbits, rfracbits)


def _lpt_scale(of: int, to: int) -> tuple[int, int]:
    fracbits = 63 - (max(to // of, 1).bit_length() - 1)
    return fracbits, ((1 << fracbits) * to // of) & U64
