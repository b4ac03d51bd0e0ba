# SPDX-License-Identifier: GPL-2.0-only
"""Which VMs to show, and in which order. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Callable, Optional, Union

from lpttrace.model import Flow, Guest, VmModel

__all__ = ["SORT_KEYS", "arrange", "matcher"]

_Sortable = Union[str, float, int]


def _rate(flow: Optional[Flow]) -> Optional[float]:
    return flow.per_second if flow else None


def _mean(flow: Optional[Flow]) -> Optional[float]:
    return flow.mean_ns if flow else None


def _p99(flow: Optional[Flow]) -> Optional[float]:
    return flow.quantiles.p99 if flow and flow.quantiles else None


def _traps_per_interrupt(vm: VmModel) -> Optional[float]:
    timers = vm.time.all_timers
    return timers.traps_per_interrupt if timers else None


_LPT_WORDS = ("wrong", "failed", "refused", "published", "off", "unknown", None)

SORT_KEYS: Mapping[str, Callable[[VmModel], Optional[_Sortable]]] = {
    "vm": lambda vm: -vm.guest.pid,
    "hypercalls": lambda vm: _rate(vm.hypercalls),
    "hypercall-mean": lambda vm: _mean(vm.hypercalls),
    "hypercall-p99": lambda vm: _p99(vm.hypercalls),
    "timer-traps": lambda vm: _rate(vm.timer_traps),
    "timer-trap-mean": lambda vm: _mean(vm.timer_traps),
    "timer-trap-p99": lambda vm: _p99(vm.timer_traps),
    "interrupts": lambda vm: vm.time.interrupts_per_second,
    "traps-per-interrupt": _traps_per_interrupt,
    "lpt": lambda vm: -_LPT_WORDS.index(vm.lpt_word),
    "vcpus": lambda vm: len(vm.pairs),
}
"""What VMs can be sorted by; the greatest comes first."""


def arrange(
    vms: Iterable[VmModel], sort: str = "vm", pattern: str = "", reverse: bool = False
) -> list[VmModel]:
    """VMs that match the pattern, sorted; those without a value come last."""
    wanted = matcher(pattern)
    found = [vm for vm in vms if wanted(vm.guest)]
    found.sort(key=lambda vm: (vm.guest.pid, vm.counters.key.seen_ns))
    by = SORT_KEYS[sort]
    values = [(by(vm), vm) for vm in found]
    known = [(value, vm) for value, vm in values if value is not None]
    # reverse=True keeps the order of equals, so the tie-break above holds.
    known.sort(key=lambda pair: pair[0], reverse=not reverse)
    return [vm for _, vm in known] + [vm for value, vm in values if value is None]


def matcher(pattern: str) -> Callable[[Guest], bool]:
    """Whether a VM's label or name matches.

    A pattern with * or ? must match all of it, another one any part; case does not matter.
    """
    matches = _text_matcher(pattern)
    return lambda guest: matches(guest.vm) or matches(guest.name)


def _text_matcher(pattern: str) -> Callable[[str], bool]:
    if not any(wildcard in pattern for wildcard in "*?"):
        return lambda text: pattern.casefold() in text.casefold()
    parts = {"*": ".*", "?": "."}
    expression = re.compile(
        "".join(parts.get(char, re.escape(char)) for char in pattern), re.IGNORECASE | re.DOTALL
    )
    return lambda text: expression.fullmatch(text) is not None
