# SPDX-License-Identifier: GPL-2.0-only
"""Where sets are pinned, and who has the right to."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Optional

from lpttrace.keep_set import ABOUT, LINK
from lpttrace.objects import is_bpffs

__all__ = ["HOST", "PIN_ROOT", "kept_directories", "kept_elsewhere", "owner", "remove", "running"]

PIN_ROOT = Path("/sys/fs/bpf/lpttrace")
"""Where pins are unless the user says otherwise."""
HOST = Path("/sys/kernel/tracing")
"""What agents lock besides: there is one of a host, whatever is mounted in a container, it need not
be written to, and nobody but root can open it."""

_SET = f"v[0-9]*/{ABOUT}"


def owner(directory: Path) -> Optional[int]:
    """The process that holds the lock of a directory, None if /proc knows none.

    Source: /proc/locks, proc(5).
    """
    with suppress(OSError):
        at = directory.stat()
        file = f"{os.major(at.st_dev):02x}:{os.minor(at.st_dev):02x}:{at.st_ino}"
        pattern = rf"FLOCK +ADVISORY +(?:READ|WRITE) +(\d+) {file} "
        found = re.search(pattern, Path("/proc/locks").read_text())
        return int(found[1]) if found else None
    return None


def running(pid: int) -> str:
    """A process in words: its number and command line."""
    if not pid:
        return "another process, out of sight of this one"
    with suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        text = b" ".join(words).decode("utf-8", "backslashreplace").strip()
        return f"process {pid} ({text})"
    return f"process {pid}"


def kept_directories(root: Path) -> dict[int, Path]:
    """What is there, by its layout's version; what is half made, or odd, is below zero.

    Without a root of somebody else that is within this one.
    """
    found: dict[int, Path] = {}
    with suppress(OSError):
        for path in sorted(root.iterdir()):
            name = re.fullmatch(r"v(0|[1-9]\d*)", path.name)
            if name or not any(path.glob(_SET)):
                found[int(name[1]) if name else -1 - len(found)] = path
    return found


def kept_elsewhere(root: Path) -> list[Path]:
    """Other roots in the same BPF file system with what an agent, told so, has kept."""
    found = set()
    with suppress(OSError):
        for about in _file_system(root).rglob(_SET):
            found.add(about.parent.parent)
    return sorted(found - {root})


def _file_system(root: Path) -> Path:
    # Where that of root, which need not be there, is mounted. OSError if it is none of BPF.
    place = next(parent for parent in root.absolute().parents if parent.exists())
    if not is_bpffs(place):
        raise OSError(0, f"no BPF file system at {place}")
    while not place.is_mount():
        place = place.parent
    return place


def remove(path: Path) -> int:
    """Unpin what is there, and in all directories there, how many; OSError."""
    if not path.is_dir():
        path.unlink()
        return 1
    # What ends counting goes first.
    paths = sorted(path.iterdir(), key=lambda each: not each.name.startswith(LINK))
    count = sum(map(remove, paths))
    path.rmdir()
    return count
