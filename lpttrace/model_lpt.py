# SPDX-License-Identifier: GPL-2.0-only
"""What a VM's LPT counters and published structure mean. Pure and exact."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Optional

from lpttrace.abi import Structure
from lpttrace.snapshot import LptStructure, LptUpdates

__all__ = [
    "Finding",
    "audit",
    "clock_errors",
    "lpt_state",
    "parts_per_billion",
    "scale_errors",
    "scales",
]

_NUMBERS = 1 << 8 * Structure.sequence_number.size


@dataclass(frozen=True)
class Finding:
    """Something wrong with a published structure: one of catalog.AUDIT_REASONS, and in words."""

    reason: str
    text: str


def lpt_state(lpt: Optional[LptUpdates], counter_hz: Optional[int] = None) -> Optional[str]:
    """ "published", "wrong", "failed", "off", or "unknown": no update was seen, and none would be
    where the VM ran already when lpttrace was attached. None where updates cannot be seen."""
    if lpt is None:
        return None
    if lpt.structure is not None:
        return "wrong" if audit(lpt, counter_hz) else "published"
    if lpt.results:
        return "failed"
    return "off" if lpt.nothing else "unknown"


def audit(lpt: LptUpdates, counter_hz: Optional[int] = None) -> tuple[Finding, ...]:
    """Everything wrong with what was published last; counter_hz is this host's frequency."""
    structure = lpt.structure
    if structure is None:
        return ()
    return (
        *_wrong_head(structure),
        *_wrong_sequence(structure, lpt.previous),
        *_wrong_frequencies(structure, lpt.previous, counter_hz),
        *_wrong_scales(structure),
    )


def _wrong_head(structure: LptStructure) -> Iterator[Finding]:
    for name in ("revision", "attributes"):
        value = getattr(structure, name)
        if value:
            yield Finding(name, f"{name} is {value}, not 0")


def _wrong_sequence(structure: LptStructure, previous: Optional[LptStructure]) -> Iterator[Finding]:
    number = structure.sequence_number
    # The guest can write the previous one: what follows may be 0.
    expected = 2 * (previous.runs + 1) % _NUMBERS if previous else None
    if number == expected:
        return
    if number & 1 or not number:
        yield Finding("sequence", f"sequence number {number} is of an unfinished update")
    elif previous:
        yield Finding("sequence", f"sequence number is {number}, not {expected}")


def _wrong_frequencies(
    structure: LptStructure, previous: Optional[LptStructure], counter_hz: Optional[int]
) -> Iterator[Finding]:
    native, pv = structure.native_freq, structure.pv_freq
    if not native:
        yield Finding("native_frequency", "native frequency is 0")
    elif counter_hz and native != counter_hz:
        text = f"native frequency is {native} Hz, but this host's counter runs at {counter_hz} Hz"
        yield Finding("native_frequency", text)
    if not pv:
        yield Finding("pv_frequency", "PV frequency is 0")
    elif previous and previous.pv_freq != pv:
        text = f"PV frequency is {pv} Hz, but the guest was promised {previous.pv_freq} Hz"
        yield Finding("pv_frequency", text)


def _wrong_scales(structure: LptStructure) -> Iterator[Finding]:
    # A factor has 64 bits; cutting it off costs less than the last of them.
    right = _right_scales(structure)
    for way, factor in scales(structure).items():
        if way in right and abs(factor - right[way]) > _last_bit(right[way]):
            error = parts_per_billion(factor / right[way] - 1)
            yield Finding(way, f"factor {way} is off by {error} parts per billion")


def _last_bit(factor: Fraction) -> Fraction:
    integer_bits = max(1, int(factor).bit_length())
    return Fraction(1, 1 << (64 - integer_bits))


def parts_per_billion(error: Fraction) -> str:
    """A relative error: 20000, -0.25, or 3e-09."""
    return f"{float(error * 10**9):.6g}"


def scales(structure: LptStructure) -> dict[str, Fraction]:
    """The two factors as published, by direction."""
    return {
        "native_to_pv": _factor(structure.scale_mult, structure.fracbits),
        "pv_to_native": _factor(structure.rscale_mult, structure.rfracbits),
    }


def _factor(mult: int, bits: int) -> Fraction:
    # With more than 64 bits it is wrong, however many; and a broken host may say 4 billion.
    return Fraction(mult, 1 << min(bits, 128))


def _right_scales(structure: LptStructure) -> dict[str, Fraction]:
    native, pv = structure.native_freq, structure.pv_freq
    if not native or not pv:
        return {}
    return {"native_to_pv": Fraction(pv, native), "pv_to_native": Fraction(native, pv)}


def scale_errors(structure: LptStructure) -> dict[str, Fraction]:
    """Relative error of each factor; empty if a frequency is zero."""
    factors = scales(structure)
    return {way: factors[way] / right - 1 for way, right in _right_scales(structure).items()}


def clock_errors(structure: LptStructure, reasons: Iterable[str]) -> dict[str, Fraction]:
    """scale_errors, which say how wrong a factor is; empty if audit has other reasons as well, for
    they mean nothing then."""
    return scale_errors(structure) if set(reasons) <= scales(structure).keys() else {}
