# SPDX-License-Identifier: GPL-2.0-only
"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lpttrace.errors import UsageError

__all__ = ["replacing"]


@contextmanager
def replacing(output: str, read: Iterable[str]) -> Iterator[Path]:
    """Where to write what becomes output when the context is left without an error: beside it, or
    straight to what is no regular file. UsageError if output is one of the files, or in one of the
    directories of recordings, that are read."""
    path = Path(output)
    if any(_is_same(path, Path(other)) for other in _files(read)):
        raise UsageError(f"cannot write to {output}: that is what is read; name another file")
    if path.exists() and (not path.is_file() or _is_stdout(path)):
        yield path
        return
    # What a link names is replaced, not the link.
    target = Path(os.path.realpath(path))
    unfinished = _beside(target, output)
    try:
        yield unfinished
        unfinished.rename(target)
    finally:
        unfinished.unlink(missing_ok=True)


def _files(paths: Iterable[str]) -> Iterator[str]:
    # What reads recordings is loaded where there are some.
    from lpttrace.recording_set import recordings_in

    for path in paths:
        yield from recordings_in(Path(path)) if Path(path).is_dir() else [path]


def _is_same(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.samefile(other)


def _is_stdout(path: Path) -> bool:
    # /dev/stdout of `>file`: the shell has that file open, and may go on writing to it.
    with suppress(OSError):
        return os.path.samestat(path.stat(), os.fstat(1))
    return False


def _beside(target: Path, output: str) -> Path:
    unfinished = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        if target.exists():
            target.open("r+b").close()
        unfinished.open("xb").close()
    except OSError as error:
        raise OSError(error.errno, error.strerror, output) from error
    if target.exists():
        shutil.copymode(target, unfinished)
    return unfinished
