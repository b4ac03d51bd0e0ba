# SPDX-License-Identifier: GPL-2.0-only
"""What is kept as one: descriptors of what is attached, and an array that says what they are."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Optional

from lpttrace.attach import Attached, Outcome
from lpttrace.errors import LpttraceError
from lpttrace.objects import create_array, open_pin, read_element, write_element
from lpttrace.plan import ProbeSpec

__all__ = ["ABOUT", "GONE", "KINDS", "LINK", "MAP", "PROGRAM", "About", "Kept"]
__all__ += ["as_kept", "number_of", "opened"]

_ABOUT_BYTES = 1 << 16
MAP, LINK, PROGRAM, ABOUT = "map_", "link_", "prog_", "about"
GONE = "ended with the agent that attached it"
KINDS = (MAP, LINK, PROGRAM, ABOUT)


@dataclass(frozen=True)
class About:
    """What a kept set is: enough to tell whether one can go on with it.

    attached_ns is when it was attached, CLOCK_MONOTONIC; numbers are the kernel's of all that
    belongs to it, by name.
    """

    abi: int
    version: str
    max_vcpus: int
    lpt_symbol: str
    bcc: str
    attached_ns: int
    outcomes: tuple[Outcome, ...]
    numbers: dict[str, int]

    def encode(self) -> bytes:
        """As it is in the array; LpttraceError if that is too small."""
        text = json.dumps(asdict(self)).encode()
        if len(text) > _ABOUT_BYTES:
            raise LpttraceError("cannot keep the programs: too much to say about them; report it")
        return text.ljust(_ABOUT_BYTES, b"\0")

    def array(self) -> int:
        """The descriptor of a new array that has it; OSError or LpttraceError."""
        fd = create_array("lpt_about", _ABOUT_BYTES, 1)
        try:
            write_element(fd, 0, self.encode())
        except BaseException:
            os.close(fd)
            raise
        return fd

    @classmethod
    def decode(cls, data: bytes) -> About:
        """ValueError, KeyError or TypeError if some other lpttrace has written it."""
        told: dict[str, Any] = json.loads(data.rstrip(b"\0"))
        outcomes = [{**o, "probe": ProbeSpec(**o["probe"])} for o in told["outcomes"]]
        return cls(**{**told, "outcomes": tuple(Outcome(**o) for o in outcomes)})


class Kept(Attached):
    """A set that an agent before us has attached: its descriptors, of which ours are closed."""

    def __init__(self, about: About, fds: dict[str, int], held: bool) -> None:
        """held is whether somebody has descriptors of what is not among these."""
        self.about = about
        self._fds = dict(fds)
        self.bcc = about.bcc
        self.maps, self.links, self.programs = (
            {name[len(kind) :]: fd for name, fd in fds.items() if name.startswith(kind)}
            for kind in (MAP, LINK, PROGRAM)
        )
        self.outcomes = (
            about.outcomes if held else tuple(self._now(outcome) for outcome in about.outcomes)
        )

    def _now(self, outcome: Outcome) -> Outcome:
        if outcome.attached and outcome.probe.name not in self.links:
            return Outcome(outcome.probe, False, 0, GONE)
        return outcome

    def lost(self) -> list[str]:
        """What belongs to the set and is not here, or something else is under its name."""
        here = {name: number_of(fd) for name, fd in self._fds.items()}
        return [name for name, number in self.about.numbers.items() if here.get(name) != number]

    def close(self) -> None:
        """What is pinned or stored stays attached."""
        while self._fds:
            os.close(self._fds.popitem()[1])


def number_of(fd: int) -> int:
    """The kernel's number of a map, link or program; 0 where it has none for a kprobe.

    Source: /proc/PID/fdinfo, of a link since 5.8; a kprobe that is no link is a perf event.
    """
    told = Path(f"/proc/self/fdinfo/{fd}").read_text()
    found = re.search(r"^(?:map|link|prog)_id:\s*(\d+)", told, re.MULTILINE)
    return int(found[1]) if found else 0


def opened(directory: Path) -> dict[str, int]:
    """Descriptors of everything that is pinned there, by name; OSError."""
    fds: dict[str, int] = {}
    try:
        for path in directory.iterdir():
            fds[path.name] = open_pin(path)
    except BaseException:
        _close(fds)
        raise
    return fds


def _close(fds: dict[str, int]) -> None:
    while fds:
        os.close(fds.popitem()[1])


def as_kept(fds: dict[str, int], held: bool = False) -> Optional[Kept]:
    """The set; None, and everything closed, if these descriptors are none of ours."""
    try:
        about = About.decode(read_element(fds[ABOUT], 0, _ABOUT_BYTES))
    except (OSError, ValueError, KeyError, TypeError):
        _close(fds)
        return None
    return Kept(about, fds, held)
