# SPDX-License-Identifier: GPL-2.0-only
"""Agents that attach and leave real programs in this kernel."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Optional

from lpttrace.attach import Attachment
from lpttrace.host import probe_host
from lpttrace.keep import Keeper, Kept
from lpttrace.objects import open_pin
from lpttrace.plan import LPT_SYMBOL, make_plan, symbols_wanted

MAX_VCPUS = 16
PLAN = make_plan(probe_host(symbols_wanted(LPT_SYMBOL)), MAX_VCPUS)


@contextmanager
def bpffs(directory: Path) -> Iterator[Path]:
    """A directory to be, in a BPF file system of its own."""
    subprocess.run(["mount", "-t", "bpf", "bpf", directory], check=True)
    try:
        yield directory / "lpttrace"
    finally:
        subprocess.run(["umount", directory], check=True)


def keeper_of(
    root: Path,
    max_vcpus: int = MAX_VCPUS,
    symbol: str = LPT_SYMBOL,
    host: Optional[Path] = None,
) -> Keeper:
    """With what stands for the host's lock, so that tests beside this one are in nobody's way."""
    return Keeper(root, max_vcpus, symbol, host or root.parent)


def attach_afresh(keeper: Keeper) -> Attachment:
    assert keeper.take_over() is None
    attachment = Attachment(PLAN)
    keeper.keep(attachment)
    return attachment


def leave(root: Path) -> None:
    """Programs that an agent has attached and left."""
    with keeper_of(root) as keeper:
        attach_afresh(keeper).close()
        assert keeper.said == []


def taken_over(root: Path) -> Kept:
    with keeper_of(root) as keeper:
        found = keeper.take_over()
        assert found is not None and keeper.said == []
    return found


def links() -> set[int]:
    """Numbers of all links that this kernel has."""
    listed = subprocess.run(["bpftool", "-j", "link"], capture_output=True, text=True, check=True)
    return {link["id"] for link in json.loads(listed.stdout)}


def number_of_link(fd: int) -> int:
    told = Path(f"/proc/self/fdinfo/{fd}").read_text()
    return int(next(line for line in told.splitlines() if line.startswith("link_id:")).split()[1])


def number_of_pin(path: Path) -> int:
    fd = open_pin(path)
    try:
        return number_of_link(fd)
    finally:
        os.close(fd)
