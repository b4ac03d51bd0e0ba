# SPDX-License-Identifier: GPL-2.0-only
"""Which process a VM is, and what it is called. The only user of psutil."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Callable, Optional, TypeVar

import psutil

from lpttrace.model import Guest
from lpttrace.snapshot import Snapshot, VmCounters, VmKey

__all__ = ["Guests", "Process", "qemu_name", "read_process"]

_Value = TypeVar("_Value")

# Whatever /proc does to us, a VM keeps its place: it only goes without a name.
_FAILURES = (psutil.Error, OSError, ValueError, RuntimeError)


@dataclass(frozen=True)
class Process:
    """What a process says of itself; command is empty where it could not be read."""

    executable: str
    command: Sequence[str]


def read_process(pid: int) -> Optional[Process]:
    """The process, or None if there is no such process, or it may not be looked at."""
    try:
        process = psutil.Process(pid)
        executable = _or(process.exe, "") or _or(process.name, "")
        command: list[str] = _or(process.cmdline, [])
    except _FAILURES:
        return None
    if not executable:
        return None
    return Process(_text(os.path.basename(executable)), [_text(word) for word in command])


def _or(read: Callable[[], _Value], otherwise: _Value) -> _Value:
    try:
        return read()
    except _FAILURES:
        return otherwise


def _text(word: str) -> str:
    # psutil decodes with surrogates, which are not valid UTF-8 when written again.
    return os.fsencode(word).decode("utf-8", "replace")


def qemu_name(command: Sequence[str]) -> Optional[str]:
    """The guest's name in -name NAME, or -name guest=NAME,...; the last one counts."""
    value = _argument(command, "name")
    if not value:
        return None
    name = None
    for index, part in enumerate(_split(value)):
        key, equals, text = part.partition("=")
        if not equals and index == 0:
            name = part
        elif key == "guest":
            name = text
    return name or None


def _argument(command: Sequence[str], option: str) -> str:
    found = ""
    for word, following in zip(command, command[1:]):
        if word in (f"-{option}", f"--{option}"):
            found = following
    return found


def _split(value: str) -> list[str]:
    # QEMU writes a comma within a value as two.
    parts = [""]
    pieces = value.split(",")
    index = 0
    while index < len(pieces):
        parts[-1] += pieces[index]
        if index + 2 < len(pieces) and pieces[index + 1] == "":
            parts[-1] += ","
            index += 2
            continue
        index += 1
        if index < len(pieces):
            parts.append("")
    return parts


class Guests:
    """Gives VMs their labels and names, and remembers them while the agent lives.

    The first VM of a process is labelled with its pid, further ones "<pid>-2", "<pid>-3"; a label
    is never given twice, not even when the kernel uses a pid again.
    """

    def __init__(self, read: Callable[[int], Optional[Process]] = read_process) -> None:
        self._read = read
        self._known: dict[VmKey, Guest] = {}
        self._named: set[VmKey] = set()
        self._labels_of_pid: dict[int, int] = {}

    def identify(self, snapshot: Snapshot) -> Mapping[VmKey, Guest]:
        """Who every VM of the snapshot is. Never fails: a process that is gone keeps the name it
        had, and is called ?[pid] if it never was seen."""
        present = {vm.key for vm in snapshot.vms}
        for key in [key for key in self._known if key not in present]:
            del self._known[key]
            self._named.discard(key)
        for vm in sorted(snapshot.vms, key=lambda vm: vm.key.seen_ns):
            if vm.key not in self._named:
                self._learn(vm)
        return self._known

    def _learn(self, vm: VmCounters) -> None:
        known = self._known.get(vm.key)
        label = known.vm if known else self._label(vm.tgid)
        # The pid of a VM that ended may be another process's by now.
        process = self._read(vm.tgid) if vm.alive else None
        if process is None:
            self._known[vm.key] = known or Guest(label, f"?[{vm.tgid}]", vm.tgid)
            return
        name = qemu_name(process.command) or f"{process.executable}[{vm.tgid}]"
        uuid = _argument(process.command, "uuid")
        self._known[vm.key] = Guest(label, name, vm.tgid, uuid)
        self._named.add(vm.key)

    def _label(self, pid: int) -> str:
        number = self._labels_of_pid.get(pid, 0) + 1
        self._labels_of_pid[pid] = number
        return str(pid) if number == 1 else f"{pid}-{number}"
