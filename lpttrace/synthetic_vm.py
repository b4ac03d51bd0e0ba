# SPDX-License-Identifier: GPL-2.0-only
"""What made-up VMs were given: LPT in four states, answers about pvtime, and how that came."""

from __future__ import annotations

from collections.abc import Mapping

from lpttrace.snapshot import (
    Account,
    Answers,
    Calls,
    Event,
    LptStructure,
    LptUpdates,
    VmCounters,
    VmKey,
)

__all__ = ["HZ", "answers", "events", "has_stolen_time", "vm_counters"]

HZ = 25_000_000
"""Counter frequency of the made-up host."""

_HZ_BEFORE, _PV_HZ = 62_500_000, 100_000_000
_EINVAL, _ENXIO = 22, 6
_PAGE = 0x4400_0000
_REFUSED = Answers(1, 1, -1)

_STRUCTURE = LptStructure(0, 0, 2, HZ, _PV_HZ, 1 << 63, 1 << 61, 61, 63)
_MOVED = LptStructure(0, 0, 4, HZ, _PV_HZ, 1 << 63, 1 << 61, 61, 63)
_BEFORE = LptStructure(0, 0, 2, _HZ_BEFORE, _PV_HZ, (8 << 63) // 5, 5 << 60, 63, 63)


def _state(key: VmKey) -> str:
    return ("published", "off", "moved", "failed")[key.index % 4]


def has_stolen_time(key: VmKey) -> bool:
    """Whether its guests were granted it."""
    return _state(key) != "off"


def vm_counters(key: VmKey, tgid: int) -> VmCounters:
    """What never changes: all of it."""
    state = _state(key)
    return VmCounters(key, tgid, True, _lpt(state, key.seen_ns), _calls(state))


def _lpt(state: str, begin_ns: int) -> LptUpdates:
    if state == "off":
        return LptUpdates({}, 1)
    if state == "failed":
        return LptUpdates({"einval": Account(1, 1_890)}, 0, _EINVAL)
    published = {"published": Account(1, 12_345)}
    if state == "moved":
        return LptUpdates(published, 1, 0, _MOVED, begin_ns, _BEFORE)
    return LptUpdates(published, 1, 0, _STRUCTURE, begin_ns)


def _calls(state: str) -> Mapping[str, Calls]:
    return {"has": Calls(failed=1)} if state == "off" else {"has": Calls(2), "set": Calls(2)}


def answers(key: VmKey, number: int) -> Mapping[str, Answers]:
    """What vCPU number of it asked when it booted; only the first asks about LPT."""
    steals = _answers("st", has_stolen_time(key), _PAGE + 64 * number)
    if number:
        return steals
    return {**steals, **_answers("lpt", _state(key) in ("published", "moved"), _PAGE - 4096)}


def _answers(about: str, granted: bool, address: int) -> Mapping[str, Answers]:
    if not granted:
        return dict.fromkeys((f"features_{about}", about), _REFUSED)
    return {f"features_{about}": Answers(1, 0, 0), about: Answers(1, 0, address)}


def events(key: VmKey) -> list[Event]:
    """Of its creation."""
    ns, state = key.seen_ns, _state(key)
    if state == "off":
        return [Event(ns, key, "has_attr", _ENXIO)]
    given = enumerate((_PAGE - 4096, _PV_HZ))
    told = [
        *(Event(ns, key, "has_attr", 0, 0, attribute) for attribute in (0, 1)),
        *(Event(ns, key, "set_attr", 0, 0, attribute, value) for attribute, value in given),
    ]
    if state == "failed":
        return [*told, Event(ns, key, "update", _EINVAL)]
    before = _HZ_BEFORE if state == "moved" else 0
    return [*told, Event(ns, key, "update", 0, old_hz=before, new_hz=HZ)]
