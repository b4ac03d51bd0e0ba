# SPDX-License-Identifier: GPL-2.0-only
"""What a VM's LPT counters and published structure mean. Pure and exact."""

from __future__ import annotations

from fractions import Fraction
from typing import Optional

from lpttrace.snapshot import LptStructure, LptUpdates

__all__ = ["lpt_state", "scale_errors", "scales"]


def lpt_state(lpt: Optional[LptUpdates]) -> Optional[str]:
    """ "published", "failed", "off", or "unknown": no update was seen, and none would be where
    the VM ran already when lpttrace was attached. None where updates cannot be seen."""
    if lpt is None:
        return None
    if lpt.structure is not None:
        return "published"
    if lpt.results:
        return "failed"
    return "off" if lpt.nothing else "unknown"


def scales(structure: LptStructure) -> dict[str, Fraction]:
    """The two factors as published, by direction."""
    return {
        "native_to_pv": Fraction(structure.scale_mult, 1 << structure.fracbits),
        "pv_to_native": Fraction(structure.rscale_mult, 1 << structure.rfracbits),
    }


def scale_errors(structure: LptStructure) -> dict[str, Fraction]:
    """Relative error of each factor; empty if a frequency is zero."""
    native, pv = structure.native_freq, structure.pv_freq
    if not native or not pv:
        return {}
    right = {"native_to_pv": Fraction(pv, native), "pv_to_native": Fraction(native, pv)}
    return {way: factor / right[way] - 1 for way, factor in scales(structure).items()}
