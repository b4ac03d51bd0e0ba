# SPDX-License-Identifier: GPL-2.0-only
"""What a recording says of the host it is made on."""

from __future__ import annotations

import os
import platform
import re
import struct
from pathlib import Path
from typing import Optional

from lpttrace import __version__
from lpttrace.abi import ABI_VERSION
from lpttrace.host import probe_host
from lpttrace.recording_types import RecordedHost

__all__ = ["build_id", "cpu_model", "describe_host"]

# elf(5): the name's length, the description's, the type.
_NOTE = struct.Struct("=III")
_GNU_BUILD_ID = 3

# Of /proc/cpuinfo on arm64, where no model has a name.
_PARTS = ("implementer", "part", "variant", "revision")


def describe_host(source: str, counter_hz: Optional[int] = None) -> RecordedHost:
    """This host; source is "live" or "synthetic", which has a counter frequency of its own."""
    facts = probe_host(("kvm_init",))
    return RecordedHost(
        *(platform.node(), platform.release(), build_id(), platform.machine(), cpu_model()),
        cpus=os.cpu_count() or 0,
        el2=facts.el2,
        counter_hz=counter_hz or facts.counter_hz,
        lpttrace=__version__,
        layout=ABI_VERSION,
        source=source,
    )


def build_id(root: Path = Path("/")) -> str:
    """Of the running kernel, in hex; empty if it does not tell."""
    try:
        notes = (root / "sys/kernel/notes").read_bytes()
    except OSError:
        return ""
    at = 0
    while at + _NOTE.size <= len(notes):
        name_size, size, kind = _NOTE.unpack_from(notes, at)
        name = at + _NOTE.size
        description = name + -(-name_size // 4) * 4
        if kind == _GNU_BUILD_ID and notes[name : name + name_size] == b"GNU\0":
            return notes[description : description + size].hex()
        at = description + -(-size // 4) * 4
    return ""


def cpu_model(root: Path = Path("/")) -> str:
    """As the kernel names it: x86 a model, arm64 what MIDR_EL1 has; all kinds there are."""
    try:
        told = (root / "proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return ""
    kinds: dict[str, None] = {}
    for cpu in told.split("\n\n"):
        facts = dict(re.findall(r"^([^\t:]+?)\s*: (.*)$", cpu, re.M))
        parts = [f"{part} {facts[f'CPU {part}']}" for part in _PARTS if f"CPU {part}" in facts]
        model = facts.get("model name") or " ".join(parts)
        if model:
            kinds[model] = None
    return ", ".join(kinds)
