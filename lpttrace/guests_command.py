# SPDX-License-Identifier: GPL-2.0-only
"""What a VMM's command line tells of its VM. Pure.

All of it is the choice of who started the VM, and no more than that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Identity", "identity_of", "vmm_kind"]

# Executables by VMM: distributions and releases add what they like at the end.
_KINDS = (
    ("qemu", re.compile(r"qemu(-.*)?|kvm(-spice)?")),
    ("firecracker", re.compile(r"firecracker([-.].*)?")),
    ("cloud-hypervisor", re.compile(r"cloud-hypervisor([-.].*)?")),
    ("crosvm", re.compile(r"crosvm([-.].*)?")),
    ("kvmtool", re.compile(r"lkvm([-.].*)?|kvmtool")),
)

# Where VMMs other than QEMU are told a name.
_NAME_OPTIONS = {"firecracker": "--id", "crosvm": "--name", "kvmtool": "--name"}

_SYSTEM = "1"  # -smbios type=1: the table System Information.


@dataclass(frozen=True)
class Identity:
    """What is not told is empty. product is the system's in SMBIOS: "OpenStack Nova", say."""

    vmm: str
    name: str = ""
    uuid: str = ""
    product: str = ""


def vmm_kind(executable: str) -> str:
    """Which VMM an executable is by its name; the name itself if it is none that is known."""
    return next((kind for kind, names in _KINDS if names.fullmatch(executable)), executable)


def identity_of(executable: str, command: Sequence[str]) -> Identity:
    """Of the VM that this program runs with that command line."""
    vmm = vmm_kind(executable)
    if vmm in _NAME_OPTIONS:
        return Identity(vmm, _long_option(command, _NAME_OPTIONS[vmm]))
    if vmm == "cloud-hypervisor":
        return Identity(vmm, uuid=_keys(_long_option(command, "--platform")).get("uuid", ""))
    # Also of an executable of another name: who wraps QEMU gives it QEMU's options.
    system = _system(command)
    uuid = _last(_values(command, "uuid")) or system.get("uuid", "")
    return Identity(vmm, _qemu_name(command), uuid, system.get("product", ""))


def _qemu_name(command: Sequence[str]) -> str:
    # -name NAME, or -name guest=NAME,...; the last one counts.
    value = _last(_values(command, "name"))
    first = _split(value)[0]
    name = first if "=" not in first else ""
    return _keys(value).get("guest", name)


def _system(command: Sequence[str]) -> Mapping[str, str]:
    tables = [_keys(value) for value in _values(command, "smbios")]
    found: dict[str, str] = {}
    for table in tables:
        if table.get("type") == _SYSTEM:
            found.update(table)
    return found


def _values(command: Sequence[str], option: str) -> list[str]:
    # QEMU takes its options with one dash and with two.
    spelt = (f"-{option}", f"--{option}")
    return [value for word, value in zip(command, command[1:]) if word in spelt]


def _long_option(command: Sequence[str], option: str) -> str:
    # --name NAME or --name=NAME.
    found = ""
    for word, following in zip(command, (*command[1:], "")):
        if word == option:
            found = following
        elif word.startswith(f"{option}="):
            found = word[len(option) + 1 :]
    return found


def _last(values: Sequence[str]) -> str:
    return values[-1] if values else ""


def _keys(value: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in _split(value))
    return {key: text for key, equals, text in pairs if equals}


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
