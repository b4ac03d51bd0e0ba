# SPDX-License-Identifier: GPL-2.0-only
"""Building the workload, the VMM that runs guests on the emulated host."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

from labkit.cache import Cache, digest
from labkit.kernel_build import CROSS
from labkit.process import logged, output


def make(cache: Cache, directory: Path) -> Path:
    """The static arm64 binary `labvmm`, built now if the cache does not have it."""
    parts: dict[str, str | bytes] = {"compiler": output([f"{CROSS}gcc", "--version"])}
    for file in sorted(directory.rglob("*")):
        if file.is_file():
            parts[f"file {file.relative_to(directory)}"] = file.read_bytes()
    key = digest(parts)
    log = cache.log("workload", key)
    return cache.make("workload", key, partial(_build, directory, log)) / "labvmm"


def _build(directory: Path, log: Path, scratch: Path) -> Path:
    log.unlink(missing_ok=True)
    built, result = scratch / "built", scratch / "result"
    result.mkdir()
    logged(["make", "-C", str(directory), f"OUT={built}"], log)
    shutil.copy(built / "labvmm", result)
    return result
