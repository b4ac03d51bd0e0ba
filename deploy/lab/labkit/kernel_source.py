# SPDX-License-Identifier: GPL-2.0-only
"""A kernel's source: a Debian package of this machine's release, or of another one.

A package of another release is not installed. Its archive is kept in the cache.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from labkit.cache import Cache, digest
from labkit.errors import LabError
from labkit.host import release_source
from labkit.kernels import Kernel
from labkit.process import logged, output
from labkit.progress import Progress

INSTALLED = Path("usr/src")
VERSION = "version"


@dataclass(frozen=True)
class Source:
    """`version` is the package's name and exact version."""

    version: str
    archive: Path


def here(cache: Cache, kernel: Kernel) -> Source | None:
    """The source if it need not be downloaded."""
    if kernel.release is None:
        return _installed(kernel)
    entry = cache.path(*_entry(kernel))
    return _fetched(kernel, entry) if entry.is_dir() else None


def get(cache: Cache, kernel: Kernel) -> Source:
    """The source, downloaded now if it is of another release and the cache does not have it."""
    if kernel.release is None:
        return _installed(kernel)
    name, key = _entry(kernel)
    fetch = partial(_fetch, kernel.source, kernel.release, cache.log(name, key))
    return _fetched(kernel, cache.make(name, key, fetch))


def _installed(kernel: Kernel) -> Source:
    version = output(["dpkg-query", "--show", kernel.source])
    return Source(version, Path("/") / INSTALLED / _archive(kernel.source))


def _fetched(kernel: Kernel, entry: Path) -> Source:
    return Source((entry / VERSION).read_text(encoding="utf-8"), entry / _archive(kernel.source))


def _archive(package: str) -> str:
    return f"{package}.tar.xz"


def _entry(kernel: Kernel) -> tuple[str, str]:
    return kernel.source, digest({"release": str(kernel.release)})


def _fetch(package: str, release: str, log: Path, scratch: Path) -> Path:
    log.unlink(missing_ok=True)
    result = scratch / "result"
    result.mkdir()
    with Progress(f"downloading {package} of {release}"):
        deb = _download(package, release, log, scratch)
        logged(["dpkg-deb", "--extract", str(deb), str(scratch / "tree")], log)
        os.rename(scratch / "tree" / INSTALLED / _archive(package), result / _archive(package))
        version = output(["dpkg-deb", "--show", str(deb)])
    (result / VERSION).write_text(version, encoding="utf-8")
    return result


def _download(package: str, release: str, log: Path, scratch: Path) -> Path:
    """By apt, which checks what it gets, with a state of its own beside the machine's."""
    (scratch / "lists" / "partial").mkdir(parents=True)
    (scratch / "sources.list").write_text(release_source(release) + "\n", encoding="utf-8")
    apt = ["apt-get", "--quiet", *_apt_options(scratch)]
    logged([*apt, "update"], log)
    try:
        logged([*apt, "download", package], log, cwd=scratch)
    except LabError as error:
        raise LabError(
            f"{package}: cannot be downloaded from Debian {release}: {error}; if the release has "
            "moved on to another one, name that in kernels.toml"
        ) from error
    return next(scratch.glob("*.deb"))


def _apt_options(root: Path) -> Sequence[str]:
    return (
        f"--option=Dir::State={root}",
        f"--option=Dir::State::lists={root}/lists",
        "--option=Dir::State::status=/dev/null",
        f"--option=Dir::Cache={root}/cache",
        f"--option=Dir::Etc::sourcelist={root}/sources.list",
        "--option=Dir::Etc::sourceparts=/dev/null",
        "--option=Acquire::Languages=none",
        # The cache may be closed to the user that apt, run by root, would download as.
        "--option=APT::Sandbox::User=root",
    )
