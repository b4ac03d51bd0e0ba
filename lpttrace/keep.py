# SPDX-License-Identifier: GPL-2.0-only
"""What stays in the kernel when the agent ends, so that the next one goes on counting.

Pinned in a BPF file system, in a directory for each layout; what the kernel does not pin, or all of
it where there is no such file system, is in systemd's descriptor store. Beside the maps and links
is an array `about`, which says what they are.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import Optional

from lpttrace import __version__, notify
from lpttrace.abi import ABI_VERSION
from lpttrace.attach import Attachment
from lpttrace.errors import LpttraceError
from lpttrace.keep_root import (
    HOST,
    PIN_ROOT,
    kept_directories,
    kept_elsewhere,
    owner,
    remove,
    running,
)
from lpttrace.keep_set import (
    ABOUT,
    GONE,
    KINDS,
    LINK,
    MAP,
    PROGRAM,
    About,
    Kept,
    as_kept,
    number_of,
    opened,
)
from lpttrace.objects import is_bpffs, pin

__all__ = [
    "GONE",
    "PIN_ROOT",
    "About",
    "Beside",
    "Kept",
    "Keeper",
    "kept_directories",
    "kept_elsewhere",
    "owner",
    "running",
]

_AFRESH = "starting afresh, all counters begin at zero"
_LINKS_GO = " (before Linux 5.15 only systemd can keep a kprobe, and only over a restart)"
_NAMED = 4


class Beside:
    """What a running agent, or one that has ended, has attached: to be read, not to be changed."""

    def __init__(self, root: Path = PIN_ROOT) -> None:
        """LpttraceError if there is nothing that this lpttrace can read."""
        directory = kept_directories(root).get(ABI_VERSION)
        if directory is None:
            raise LpttraceError(f"nothing is attached under {root} that this lpttrace can read")
        self._directory = directory
        self._lock = -1
        try:
            # Says to the agent that somebody looks, until it is closed.
            self._lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(self._lock, fcntl.LOCK_SH)
            kept = as_kept(opened(directory), owner(root) is not None)
        except OSError as error:
            self._unlock()
            raise LpttraceError(f"cannot read what is under {directory}: {error}") from error
        # What an agent holds by descriptor need not be pinned; but without the maps, what is read?
        if kept is None or any(name.startswith(MAP) for name in kept.lost()):
            self._unlock()
            raise LpttraceError(f"{directory} is not what lpttrace has pinned; lpttrace unload")
        self.attachment = kept

    def is_current(self) -> bool:
        """Whether it is still what counts: not unloaded, nor attached anew."""
        with suppress(OSError):
            return self._directory.stat().st_ino == os.fstat(self._lock).st_ino
        return False

    def close(self) -> None:
        """Let go of it; idempotent."""
        self.attachment.close()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


class Keeper:
    """The right to keep a set under root; one process has it at a time.

    Where nothing can be pinned, it is the right to count on this host.
    """

    def __init__(
        self, root: Path, max_vcpus: int = 0, lpt_symbol: str = "", host: Path = HOST
    ) -> None:
        """The options are those of what is to be attached: nothing else can be gone on with.

        problem says why nothing can be pinned, if so.
        """
        self._root = root
        self._host = host
        self._options = (max_vcpus, lpt_symbol)
        self._locks: list[int] = []
        self._readers = -1
        self._pins = False
        self._stored: dict[str, int] = {}
        self.said: list[str] = []
        self.problem = ""

    def __enter__(self) -> Keeper:
        """LpttraceError if another agent has the right: it says which."""
        try:
            if not is_bpffs(self._root.parent):
                raise OSError(0, f"no BPF file system at {self._root.parent}")
            self._root.mkdir(mode=0o700, exist_ok=True)
            self._take(self._root, fcntl.LOCK_EX)
        except OSError as error:
            self.problem = _in_words(error)
        self._pins = not self.problem
        with suppress(OSError):
            # Those that pin, each under a root of its own, share the host.
            self._take(self._host, fcntl.LOCK_SH if self._pins else fcntl.LOCK_EX)
        return self

    def _take(self, directory: Path, how: int) -> None:
        self._locks.append(os.open(directory, os.O_RDONLY | os.O_DIRECTORY))
        try:
            fcntl.flock(self._locks[-1], how | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            who = running(owner(directory) or 0)
            raise LpttraceError(
                f"cannot attach: {who} has; read its metrics, or stop it first"
            ) from None

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give up the right; what is kept stays."""
        while self._locks:
            os.close(self._locks.pop())
        if self._readers >= 0:
            os.close(self._readers)
            self._readers = -1

    def take_over(self) -> Optional[Kept]:
        """What an agent before has left, if one can go on with it; `said` tells why not."""
        stored = self._received()
        directories = kept_directories(self._root)
        others = sorted(version for version in directories.keys() - {ABI_VERSION} if version >= 0)
        if others:
            self.said.append(
                f"the programs attached before have layout {others[-1]}, this lpttrace has "
                f"{ABI_VERSION}: {_AFRESH}"
            )
        pinned = self._opened(directories.get(ABI_VERSION))
        for name in stored.keys() & pinned.keys():
            os.close(stored.pop(name))
        kept = self._accepted({**stored, **pinned}) if stored or pinned else None
        self._tidy_store({} if kept is None else stored)
        return kept

    def _opened(self, directory: Optional[Path]) -> dict[str, int]:
        try:
            return opened(directory) if directory else {}
        except OSError as error:
            self.said.append(f"cannot read what is under {directory}: {error}: {_AFRESH}")
            return {}

    def _received(self) -> dict[str, int]:
        fds: dict[str, int] = {}
        for name, fd in notify.received_fds():
            if not name.startswith(KINDS):
                continue
            self._stored[name] = self._stored.get(name, 0) + 1
            if name in fds:
                os.close(fd)
            else:
                fds[name] = fd
        return fds

    def _accepted(self, fds: dict[str, int]) -> Optional[Kept]:
        kept = as_kept(fds)
        if kept is None:
            self.said.append(f"what was attached before is not what this lpttrace keeps: {_AFRESH}")
        elif not self._fits(kept.about) or self._lacks(kept.lost()):
            kept.close()
            return None
        return kept

    def _tidy_store(self, used: dict[str, int]) -> None:
        # It holds so many and no more, and gives all of them to every agent after this one.
        for name, times in self._stored.items():
            if name not in used or times > 1:
                notify.remove_fd(name)
            if name in used and times > 1:
                notify.store_fd(name, used[name])

    def _fits(self, about: About) -> bool:
        if about.abi != ABI_VERSION:
            self.said.append(
                f"the programs stored before have layout {about.abi}, this lpttrace has "
                f"{ABI_VERSION}: {_AFRESH}"
            )
            return False
        if (about.max_vcpus, about.lpt_symbol) != self._options:
            self.said.append(
                f"the programs attached before are for {about.max_vcpus} vCPUs and "
                f"{about.lpt_symbol}: {_AFRESH}"
            )
            return False
        return True

    def _lacks(self, lost: list[str]) -> bool:
        if lost:
            more = f" and {len(lost) - _NAMED} more" if len(lost) > _NAMED else ""
            names = ", ".join(name.replace("_", " ", 1) for name in lost[:_NAMED])
            why = "" if any(not name.startswith(LINK) for name in lost) else _LINKS_GO
            self.said.append(
                f"nothing has kept {names}{more} of what was attached before{why}: {_AFRESH}"
            )
        return bool(lost)

    def keep(self, attachment: Attachment, attached_ns: int = 0) -> None:
        """Pin and store all of it in place of what was kept before; `said` tells what cannot be."""
        things = {MAP + name: fd for name, fd in attachment.maps.items()}
        things.update({LINK + name: fd for name, fd in attachment.links.items()})
        things.update({PROGRAM + name: fd for name, fd in attachment.programs.items()})
        array = self._about(attachment, attached_ns, things).array()
        try:
            self._lose(self._store(self._pin({ABOUT: array, **things})))
        finally:
            os.close(array)

    def _about(self, attachment: Attachment, attached_ns: int, things: dict[str, int]) -> About:
        max_vcpus, lpt_symbol = self._options
        by = (attachment.bcc, attached_ns, attachment.outcomes)
        numbers = {name: number_of(fd) for name, fd in things.items()}
        return About(ABI_VERSION, __version__, max_vcpus, lpt_symbol, *by, numbers)

    def _pin(self, things: dict[str, int]) -> dict[str, int]:
        # Those that have no pin.
        if not self._pins:
            return things
        try:
            return self._pin_all(things)
        except OSError as error:
            self._pins = False
            self.problem = _in_words(error)
            return things

    def _pin_all(self, things: dict[str, int]) -> dict[str, int]:
        # All at once in place: a directory that is half made is never taken for a set.
        remaining = {}
        incoming = self._root / "new"
        for directory in kept_directories(self._root).values():
            remove(directory)
        incoming.mkdir(mode=0o700)
        for name, fd in things.items():
            try:
                pin(fd, incoming / name)
            except OSError:
                remaining[name] = fd
        incoming.rename(self._root / f"v{ABI_VERSION}")
        return remaining

    def _store(self, things: dict[str, int]) -> list[str]:
        # Those that nobody will hold. What is under a name already would stay beside it.
        for name in things:
            notify.remove_fd(name)
        return [name for name, fd in things.items() if not notify.store_fd(name, fd)]

    def _lose(self, names: list[str]) -> None:
        if ABOUT in names:
            where = self._root.parent
            mount = f"mount -t bpf bpf {where}"
            remedy = mount if where.exists() and not is_bpffs(where) else f"make {where} writable"
            self.said.append(f"counting ends with this process ({self.problem}): {remedy}")
        elif names:
            links = (name[len(LINK) :] for name in names if name.startswith(LINK))
            probes = ", ".join(sorted(links))
            self.said.append(
                f"this kernel cannot pin {probes}: these count while this process runs only, "
                "and the next starts afresh; run it as a systemd service, which holds them over a "
                "restart"
            )

    def read_by_others(self) -> bool:
        """Whether somebody reads beside us at this moment."""
        if not self._pins:
            return False
        if self._readers < 0:
            path = self._root / f"v{ABI_VERSION}"
            self._readers = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(self._readers, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(self._readers, fcntl.LOCK_UN)
        return False

    @property
    def keeps(self) -> bool:
        """Whether anything stays."""
        return bool(kept_directories(self._root)) or notify.has_store()

    def discard(self) -> int:
        """Remove all pins, how many; with the descriptors that we hold, what is attached goes."""
        if not self._pins:
            return 0
        try:
            count = sum(map(remove, kept_directories(self._root).values()))
        except OSError as error:
            why = _in_words(error)
            raise LpttraceError(f"cannot remove what is under {self._root}: {why}") from error
        with suppress(OSError):
            self._root.rmdir()
        return count


def _in_words(error: OSError) -> str:
    return str(error.strerror or error).lower()
