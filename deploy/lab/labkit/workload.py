# SPDX-License-Identifier: GPL-2.0-only
"""Building the workload, the VMMs that run guests on the emulated host."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

from labkit.cache import Cache, digest
from labkit.kernel_build import CROSS
from labkit.process import logged, output

# The first runs bare-metal guests, the second Linux.
PROGRAMS = ("labvmm", "lablinux")


def make(cache: Cache, directory: Path) -> Path:
    """The directory of the static arm64 binaries, built now if the cache does not have them."""
    parts: dict[str, str | bytes] = {
        "compiler": output([f"{CROSS}gcc", "--version"]),
        "programs": repr(PROGRAMS),
    }
    for file in sorted(directory.rglob("*")):
        if file.is_file():
            parts[f"file {file.relative_to(directory)}"] = file.read_bytes()
    key = digest(parts)
    log = cache.log("workload", key)
    return cache.make("workload", key, partial(_build, directory, log))


def _build(directory: Path, log: Path, scratch: Path) -> Path:
    log.unlink(missing_ok=True)
    built, result = scratch / "built", scratch / "result"
    result.mkdir()
    logged(["make", "-C", str(directory), f"OUT={built}"], log)
    for program in PROGRAMS:
        shutil.copy(built / program, result)
    return result
