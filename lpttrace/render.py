# SPDX-License-Identifier: GPL-2.0-only
"""From the model to strings: units, n/a, names that are safe to show. Pure."""

from __future__ import annotations

import errno
import unicodedata
from typing import Optional

from lpttrace.catalog import (
    HYPERCALL_SERVICE,
    HYPERCALLS,
    LPT_UPDATES,
    TIMER_TRAP_SERVICE,
    TIMER_TRAPS,
)
from lpttrace.model import Flow, Model, VmModel
from lpttrace.model_lpt import lpt_state, scale_errors
from lpttrace.snapshot import Account, LptStructure, LptUpdates

__all__ = [
    "FLOW_COLUMNS",
    "LPT_COLUMN",
    "NONE_YET",
    "NOT_VISIBLE",
    "count",
    "duration",
    "errno_name",
    "fit",
    "flow_cells",
    "frequency",
    "losses_line",
    "lpt_cell",
    "lpt_line",
    "mean",
    "printable",
    "probes_line",
    "rate",
    "share_lines",
    "vm_name",
    "vm_title",
    "width",
]

NOT_VISIBLE = "n/a"
"""The number cannot be known on this host; the reason is shown elsewhere."""

NONE_YET = "-"
"""The number could be known, but nothing happened that it could be computed from."""

FLOW_COLUMNS = (
    HYPERCALLS.column,
    HYPERCALL_SERVICE.column,
    TIMER_TRAPS.column,
    TIMER_TRAP_SERVICE.column,
)
LPT_COLUMN = LPT_UPDATES.column

_MAX_NAME = 256

# Fixed point can do better; a clock that drifts by this is off by 30 µs after a year.
_FIXED_POINT_ERROR = 1e-12


def width(text: str) -> int:
    """Terminal columns the text takes."""
    return sum(_char_width(char) for char in text) if not text.isascii() else len(text)


def _char_width(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def printable(text: str) -> str:
    """Text that others chose, safe for terminals and logs: what is no graphic character (control
    characters, escape sequences, bidirectional overrides, line separators) is shown escaped."""
    safe = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
    return fit(safe, _MAX_NAME)


def fit(text: str, columns: int) -> str:
    """The text, cut with … where it takes more columns than that."""
    if width(text) <= columns:
        return text
    kept, used = [], 0
    for char in text:
        used += _char_width(char)
        if used > columns - 1:
            break
        kept.append(char)
    return "".join(kept) + "…"


def rate(value: Optional[float]) -> str:
    """A number a second: 0, 0.25, 12.5, 1234, 12.3k, 1.23M."""
    if value is None:
        return NONE_YET
    if value == 0:
        return "0"
    if value < 9.995:
        return f"{value:.2f}"
    if value < 999.5:
        return f"{value:.1f}"
    return count(round(value))


def count(value: int) -> str:
    """A number of at most six columns: 99999, 123k, 1.23M."""
    if value < 100_000:
        return str(value)
    return _scaled(value, ((1e3, "k"), (1e6, "M"), (1e9, "G"), (1e12, "T")), "")


def duration(ns: Optional[float]) -> str:
    """Nanoseconds in the unit that suits: 850 ns, 1.20 µs, 15.3 ms, 2.00 s."""
    if ns is None:
        return NONE_YET
    if ns < 999.5:
        return f"{ns:.0f} ns"
    return _scaled(ns, ((1e3, "µs"), (1e6, "ms"), (1e9, "s")), " ")


def _scaled(value: float, units: tuple[tuple[float, str], ...], space: str) -> str:
    # Three significant digits, in the first unit in which that is below 1000.
    scaled, unit = next(
        ((value / scale, unit) for scale, unit in units if value / scale < 999.5),
        (value / units[-1][0], units[-1][1]),
    )
    digits = 0 if scaled >= 99.95 else 1 if scaled >= 9.995 else 2
    return f"{scaled:.{digits}f}{space}{unit}"


def mean(account: Account) -> str:
    """The mean of an account since attach."""
    return duration(account.ns / account.count if account.count else None)


def flow_cells(flow: Optional[Flow]) -> tuple[str, str]:
    """Rate and mean service time of the interval."""
    if flow is None:
        return NOT_VISIBLE, NOT_VISIBLE
    return rate(flow.per_second), duration(flow.mean_ns)


def lpt_cell(lpt: Optional[LptUpdates]) -> str:
    """The LPT state in one word of at most nine columns."""
    return lpt_state(lpt) or NOT_VISIBLE


def errno_name(number: int) -> str:
    """EINVAL for 22; the number where it has no name."""
    return errno.errorcode.get(number, str(number))


def frequency(hertz: int) -> str:
    """25000000 as 25 MHz; exact, so with as many digits as needed."""
    for scale, unit in ((10**9, "GHz"), (10**6, "MHz"), (10**3, "kHz")):
        if hertz >= scale:
            whole, rest = divmod(hertz, scale)
            digits = f"{rest:0{len(str(scale)) - 1}d}".rstrip("0")
            return f"{whole}.{digits} {unit}" if digits else f"{whole} {unit}"
    return f"{hertz} Hz"


def lpt_line(lpt: Optional[LptUpdates]) -> str:
    """What is known of a VM's LPT, in one line."""
    state = lpt_state(lpt)
    if lpt is None or state is None:
        return NOT_VISIBLE
    words = {
        "off": "off for this VM",
        "unknown": "unknown: no update seen, the VM ran before lpttrace was attached",
    }
    parts = [words[state]] if state in words else []
    if lpt.structure is not None:
        s = lpt.structure
        parts.append(f"native {frequency(s.native_freq)}, PV {frequency(s.pv_freq)}")
        parts.append(f"sequence {s.sequence_number}")
        parts.append(_scale_error(s))
    parts += [f"{account.count} {name} ({mean(account)})" for name, account in lpt.results.items()]
    if lpt.last_error:
        parts.append(f"last error {errno_name(lpt.last_error)}")
    return ", ".join(parts)


def _scale_error(structure: LptStructure) -> str:
    errors = scale_errors(structure).values()
    if not errors:
        return "a frequency is zero"
    worst = float(max(abs(error) for error in errors))
    return f"scale off by {worst:.1e}" if worst > _FIXED_POINT_ERROR else "scale right"


def share_lines(flow: Flow) -> tuple[str, str]:
    """How the traps of a flow ended since attach, with means: served ones, and those kept apart."""
    total = flow.total
    counted = f"{total.count} since attach, {total.served.count} served ({mean(total.served)})"
    if total.pending:
        counted += f", {total.pending} being served"
    ways = (("scheduled out", total.scheduled_out), ("in the VMM", total.userspace))
    apart = [f"{account.count} {way} ({mean(account)})" for way, account in ways if account.count]
    return counted, f"kept apart: {', '.join(apart)}" if apart else ""


def vm_name(vm: VmModel) -> str:
    """The name, after the word that its VM has ended: the end of a name may be cut off."""
    return ("" if vm.counters.alive else "(ended) ") + printable(vm.guest.name)


def vm_title(vm: VmModel) -> str:
    """Label and name."""
    return f"{vm.guest.vm} {vm_name(vm)}"


def probes_line(model: Model) -> str:
    """How many probes are attached."""
    probes = model.snapshot.probes
    return f"probes {sum(probe.attached for probe in probes)}/{len(probes)}"


def losses_line(model: Model) -> str:
    """Losses by name, or that there are none."""
    lost = {name: value for name, value in model.snapshot.losses.items() if value}
    return "losses " + (", ".join(f"{name} {value}" for name, value in lost.items()) or "none")
