# SPDX-License-Identifier: GPL-2.0-only
"""From the model to strings: units, n/a, names. Pure."""

from __future__ import annotations

import errno
from datetime import datetime, timedelta
from typing import Optional

from lpttrace.model import Flow, Model, VmModel
from lpttrace.printable import printable
from lpttrace.quantiles import Quantiles
from lpttrace.snapshot import Account

__all__ = [
    "NONE_YET",
    "NOT_VISIBLE",
    "QUANTILE_COLUMNS",
    "age",
    "count",
    "counting_since",
    "duration",
    "errno_name",
    "frequency",
    "losses_line",
    "mean",
    "probes_line",
    "quantile_cells",
    "quantiles_text",
    "rate",
    "share",
    "share_lines",
    "vm_name",
    "vm_title",
]

NOT_VISIBLE = "n/a"
"""The number cannot be known on this host; the reason is shown elsewhere."""

NONE_YET = "-"
"""The number could be known, but nothing happened that it could be computed from."""

_QUANTILES = ("p50", "p90", "p99", "max")
QUANTILE_COLUMNS = tuple(name.upper() for name in _QUANTILES)


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


def share(value: Optional[float]) -> str:
    """A share as a percentage: 0 %, 0.12 %, 12.5 %."""
    return NONE_YET if value is None else f"{rate(value * 100)} %"


def quantile_cells(quantiles: Optional[Quantiles]) -> tuple[str, ...]:
    """One string for each of p50, p90, p99 and max."""
    if quantiles is None:
        return (NONE_YET,) * len(QUANTILE_COLUMNS)
    return tuple(map(duration, (quantiles.p50, quantiles.p90, quantiles.p99, quantiles.max)))


def quantiles_text(quantiles: Quantiles) -> str:
    """p50 1.20 µs, p90 1.31 µs, p99 2.25 µs, max 4.10 µs."""
    return ", ".join(map(" ".join, zip(_QUANTILES, quantile_cells(quantiles))))


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


def counting_since(model: Model, now: datetime) -> Optional[datetime]:
    """When the probes were attached, which totals are since: by an agent, maybe long ago. None if
    that is not known; now is when the snapshot was taken."""
    begin_ns = model.snapshot.upkeep.begin_ns
    return now - timedelta(microseconds=_age_ns(model) // 1000) if begin_ns else None


def age(model: Model) -> str:
    """The same as a span: 45 s, 12 min, 5 h, 3 d; empty if that is not known."""
    if not model.snapshot.upkeep.begin_ns:
        return ""
    seconds = _age_ns(model) // 10**9
    spans = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
    length, unit = next((span for span in spans if seconds >= 2 * span[0]), spans[-1])
    return f"{seconds // length} {unit}"


def _age_ns(model: Model) -> int:
    return max(0, model.snapshot.end_ns - model.snapshot.upkeep.begin_ns)


def losses_line(model: Model) -> str:
    """Losses by name, or that there are none."""
    lost = {name: value for name, value in model.snapshot.losses.items() if value}
    return "losses " + (", ".join(f"{name} {value}" for name, value in lost.items()) or "none")
