# SPDX-License-Identifier: GPL-2.0-only
"""Built things on disk, each named by a hash of what it is built from.

An entry is a directory that appears whole, by one rename, or not at all. Any number of builders
may ask for the same entry: one builds, the others wait.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from labkit.errors import LabError

DIGEST_CHARACTERS = 16
# Entries of one name that are kept: this checkout's, and some of other checkouts or branches.
KEPT = 3


def digest(parts: Mapping[str, str | bytes]) -> str:
    """A hash of named parts; the order they are given in does not matter."""
    whole = hashlib.sha256()
    for name in sorted(parts):
        part = parts[name]
        content = part.encode() if isinstance(part, str) else part
        whole.update(f"{name}\0{len(content)}\0".encode())
        whole.update(content)
    return whole.hexdigest()[:DIGEST_CHARACTERS]


def default_root(environ: Mapping[str, str]) -> Path:
    """Where this user's cache is; XDG wants a relative XDG_CACHE_HOME ignored."""
    configured = environ.get("XDG_CACHE_HOME", "")
    base = Path(configured) if configured.startswith("/") else Path.home() / ".cache"
    return base / "lpttrace"


class Cache:
    """The entries below one directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, name: str, key: str) -> Path:
        """Where the entry `name` built from `key` is or would be."""
        return self.root / f"{name}-{key}"

    def make(self, name: str, key: str, build: Callable[[Path], Path]) -> Path:
        """The entry; if absent, `build(scratch)` makes it and returns the directory to publish.

        `scratch` is an empty directory of the builder's own, removed afterwards whatever happens.
        """
        entry = self.path(name, key)
        if not entry.is_dir():
            with self._locked(name):
                if not entry.is_dir():
                    self._publish(entry, build)
                    self._prune(name)
        os.utime(entry)
        return entry

    def log(self, name: str, key: str) -> Path:
        """Where the build log of an entry goes; it outlives a failed build."""
        logs = self.root / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        return logs / f"{name}-{key}.log"

    def _publish(self, entry: Path, build: Callable[[Path], Path]) -> None:
        scratch = self.root / f".{entry.name}.building"
        # Whatever is there was left by a builder that was killed: we hold its lock.
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        try:
            os.rename(build(scratch), entry)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _prune(self, name: str) -> None:
        """Keeps the entries of that name that were last used; what runs from others goes on."""
        ours = re.compile(rf"{re.escape(name)}-[0-9a-f]{{{DIGEST_CHARACTERS}}}")
        entries = [entry for entry in self.root.iterdir() if ours.fullmatch(entry.name)]
        entries.sort(key=lambda entry: entry.stat().st_mtime, reverse=True)
        for entry in entries[KEPT:]:
            shutil.rmtree(entry, ignore_errors=True)

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            lock = (self.root / f".{name}.lock").open("w")
        except OSError as error:
            raise LabError(f"cannot write to the cache {self.root}: {error.strerror}") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"lab: {name}: waiting for another lab to build it", file=sys.stderr)
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
