# SPDX-License-Identifier: GPL-2.0-only
"""Building a host kernel from the distribution's source package."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from labkit import kernel_source
from labkit.cache import Cache, digest
from labkit.errors import LabError
from labkit.kernel_source import Source
from labkit.kernels import Kernel
from labkit.process import logged, output
from labkit.progress import Progress

CROSS = "aarch64-linux-gnu-"
MAKE = ("make", "ARCH=arm64", f"CROSS_COMPILE={CROSS}", f"CC=ccache {CROSS}gcc")
# Nothing of the machine that builds it goes into the kernel.
ENVIRONMENT = {
    "KBUILD_BUILD_USER": "lpttrace",
    "KBUILD_BUILD_HOST": "lab",
    "KBUILD_BUILD_TIMESTAMP": "1970-01-01",
}
# Kernels that differ by a patch share what it leaves alone. Each is compiled in a directory of its
# own, whose name is in the debugging information only.
CCACHE = {"CCACHE_DEPEND": "true", "CCACHE_NOHASHDIR": "true", "CCACHE_MAXSIZE": "2G"}
COMPILED = re.compile(r"  (?:CC|AS|HOSTCC)\s")
NOT_SET = re.compile(r"# (CONFIG_\w+) is not set")


def key(kernel: Kernel, source: Source) -> str:
    """The hash of everything that the kernel's image depends on."""
    parts: dict[str, str | bytes] = {
        "name": kernel.name,
        "source": source.version,
        "compiler": output([f"{CROSS}gcc", "--version"]),
        "btf": output(["pahole", "--version"]),
        "make": repr((MAKE, sorted(ENVIRONMENT.items()))),
    }
    for number, file in enumerate((*kernel.config, *kernel.patches)):
        parts[f"file {number}"] = _read(kernel, file)
    return digest(parts)


def make(cache: Cache, kernel: Kernel) -> Path:
    """The kernel's image, built now if the cache does not have it."""
    source = kernel_source.get(cache, kernel)
    name, hashed = _entry(kernel, source)
    log = cache.log(name, hashed)
    build = partial(_build, kernel, source.archive, log, cache.root / "ccache")
    return cache.make(name, hashed, build) / "Image"


def entry(cache: Cache, kernel: Kernel) -> Path | None:
    """Where what is built of the kernel is or would be; None if not even its source is here."""
    source = kernel_source.here(cache, kernel)
    return cache.path(*_entry(kernel, source)) if source else None


def lost_options(fragment: str, config: str) -> list[str]:
    """The lines of a configuration fragment that a finished configuration does not honour."""
    have = set(config.splitlines())
    enabled = {line.partition("=")[0] for line in have if line.startswith("CONFIG_")}

    def lost(line: str) -> bool:
        if unset := NOT_SET.fullmatch(line):
            return unset.group(1) in enabled
        if line.endswith("=n"):
            return line.removesuffix("=n") in enabled
        return line.startswith("CONFIG_") and line not in have

    return [line for line in map(str.strip, fragment.splitlines()) if lost(line)]


def _entry(kernel: Kernel, source: Source) -> tuple[str, str]:
    return f"kernel-{kernel.name}", key(kernel, source)


def _build(kernel: Kernel, archive: Path, log: Path, ccache: Path, scratch: Path) -> Path:
    log.unlink(missing_ok=True)
    with Progress(f"building the kernel {kernel.name}") as progress:
        progress.update("unpacking the source")
        source = _unpack(kernel, archive, log, scratch)
        _configure(kernel, log, source)
        _compile(kernel, log, ccache, source, progress)
    result = scratch / "result"
    result.mkdir()
    shutil.copy(source / "arch/arm64/boot/Image", result)
    shutil.copy(source / "System.map", result)
    shutil.copy(source / ".config", result / "config")
    return result


def _unpack(kernel: Kernel, archive: Path, log: Path, scratch: Path) -> Path:
    logged(["tar", "--extract", "--file", str(archive), "--directory", str(scratch)], log)
    source = scratch / kernel.source
    for patch in kernel.patches:
        apply = ["patch", "-p1", "--batch", "--forward", "--input", str(patch.resolve())]
        logged(apply, log, cwd=source)
    return source


def _configure(kernel: Kernel, log: Path, source: Path) -> None:
    fragments = [str(file.resolve()) for file in kernel.config]
    run = partial(logged, log=log, cwd=source, env=ENVIRONMENT)
    run([*MAKE, "allnoconfig"])
    run(["scripts/kconfig/merge_config.sh", "-m", ".config", *fragments])
    run([*MAKE, "olddefconfig"])
    config = (source / ".config").read_text(encoding="utf-8")
    for file in kernel.config:
        _check(file, lost_options(file.read_text(encoding="utf-8"), config))


def _check(file: Path, lost: Sequence[str]) -> None:
    if lost:
        raise LabError(
            f"{file}: the kernel's configuration does not keep {', '.join(lost)}; "
            "add what each depends on, or remove it"
        )


# What the configuration of today has; only for the eye.
OBJECTS = 1200


def _compile(kernel: Kernel, log: Path, ccache: Path, source: Path, progress: Progress) -> None:
    compiled = 0

    def count(line: str) -> None:
        nonlocal compiled
        compiled += bool(COMPILED.match(line))
        progress.update(f"{compiled} of about {OBJECTS} files compiled")

    jobs = len(os.sched_getaffinity(0))
    version = f"LOCALVERSION=-{kernel.name}"
    environment = {**ENVIRONMENT, **CCACHE, "CCACHE_DIR": str(ccache)}
    logged([*MAKE, f"-j{jobs}", version, "Image"], log, cwd=source, env=environment, on_line=count)


def _read(kernel: Kernel, file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise LabError(f"kernel {kernel.name}: {file}: {error.strerror}") from error
