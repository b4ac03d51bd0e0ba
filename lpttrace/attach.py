# SPDX-License-Identifier: GPL-2.0-only
"""The agent's side of the loader: find a Python that has bcc, ask, and hold what comes back."""

from __future__ import annotations

import array
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Optional, Protocol

from lpttrace.errors import BccError, LpttraceError, ProtocolError
from lpttrace.maps_ledger import WORDS
from lpttrace.objects import create_array
from lpttrace.plan import Plan, ProbeSpec

__all__ = [
    "LEDGER",
    "Attached",
    "Attachment",
    "Outcome",
    "ask_loader",
    "bpf_directory",
    "interpreters",
]

LEDGER = "ledger"
"""Name of the map that no program uses; see maps_ledger."""

_PACKAGES = "python3-bpfcc on Debian and Ubuntu, python3-bcc on Fedora, RHEL and openEuler"
# SCM_MAX_FD of the kernel: so many go with one message.
_MAX_FDS = 253


@dataclass(frozen=True)
class Outcome:
    """What became of one probe; code is an errno, detail what was said of the program."""

    probe: ProbeSpec
    attached: bool
    code: int
    detail: str


def bpf_directory() -> Path:
    """Where the BPF sources are: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    for place in (package / "bpf", package.parent / "bpf"):
        if (place / "lpttrace.bpf.c").exists():
            return place
    raise LpttraceError(f"cannot find the BPF sources in {package / 'bpf'}; reinstall lpttrace")


def interpreters() -> Iterator[str]:
    """Pythons that may have bcc: this one, and the distribution's, to which bcc belongs."""
    yield sys.executable
    for system in ("/usr/bin/python3", "/usr/libexec/platform-python"):
        # By name, not by file: a virtual environment's python is a link to it, and has no bcc.
        if os.access(system, os.X_OK) and system != sys.executable:
            yield system


def _bcc_error(answer: dict[str, Any]) -> LpttraceError:
    error, detail = answer["error"], answer["detail"]
    if error == "bcc_missing":
        return BccError(f"cannot import bcc: {detail}; install {_PACKAGES}")
    if error == "bcc_wrong":
        return BccError(
            f"cannot use the bcc at {detail}: it is PyPI's package about crystal lattices; "
            f"remove it (pip uninstall bcc) and install {_PACKAGES}"
        )
    if error == "compile":
        return BccError(f"cannot compile the BPF programs with this bcc: {detail}; report it")
    return BccError(f"cannot prepare the BPF maps: {detail}")


class Attached(Protocol):
    """Programs in the kernel: maps, links and programs as descriptors by name.

    outcomes is what became of each probe, bcc the version of what loaded the programs.
    """

    maps: dict[str, int]
    links: dict[str, int]
    programs: dict[str, int]
    outcomes: tuple[Outcome, ...]
    bcc: str

    def close(self) -> None:
        """Close the descriptors; idempotent."""


class Attachment(Attached):
    """What this process has attached; closing detaches everything that is not kept elsewhere.

    The kernel detaches as well when this process dies in any way.
    """

    def __init__(self, plan: Plan) -> None:
        """Run the loader. BccError if no Python here has a bcc that can load the programs."""
        self.maps: dict[str, int] = {}
        self.links: dict[str, int] = {}
        self.programs: dict[str, int] = {}
        self.bcc = ""
        self.outcomes: tuple[Outcome, ...] = ()
        self._fds: list[int] = []
        failure: Optional[LpttraceError] = None
        for python in interpreters():
            answer, fds = ask_loader(python, plan)
            self._fds = fds
            if answer["ok"]:
                self._take(answer, plan)
                return
            wrong = _bcc_error(answer)
            # Of several Pythons, the one that has some bcc explains more than one without.
            if failure is None or answer["error"] != "bcc_missing":
                failure = wrong
            if answer["error"] not in ("bcc_missing", "bcc_wrong"):
                break
        assert failure is not None
        raise failure

    def _take(self, answer: dict[str, Any], plan: Plan) -> None:
        names, probes = answer["maps"], answer["probes"]
        attached = [spec for spec, p in zip(plan.probes, probes) if p["attached"]]
        expected = len(names) + 2 * len(attached)
        if len(self._fds) != expected or len(probes) != len(plan.probes):
            got = len(self._fds)
            self.close()
            raise ProtocolError(f"the loader sent {got} descriptors, not {expected}")
        self.bcc = answer["bcc"]
        self.maps = {**dict(zip(names, self._fds)), LEDGER: self._make_ledger()}
        self.links = {spec.name: fd for spec, fd in zip(attached, self._fds[len(names) :])}
        programs = self._fds[len(names) + len(attached) :]
        self._fds.append(self.maps[LEDGER])
        self.programs = {spec.program: fd for spec, fd in zip(attached, programs)}
        self.outcomes = tuple(
            Outcome(spec, probe["attached"], probe["errno"], probe["detail"])
            for spec, probe in zip(plan.probes, probes)
        )

    def _make_ledger(self) -> int:
        try:
            return create_array("lpt_ledger", 8, WORDS, mappable=True)
        except OSError as error:
            self.close()
            raise LpttraceError(f"cannot prepare the BPF maps: {error}") from error

    def __enter__(self) -> Attachment:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        value: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()

    def close(self) -> None:
        """Detach everything; idempotent."""
        while self._fds:
            os.close(self._fds.pop())


def ask_loader(
    python: str, plan: Plan, cflags: Sequence[str] = ()
) -> tuple[dict[str, Any], list[int]]:
    """One run of the loader under that Python: its answer, and the descriptors that came along."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        # Our directory goes last on the path, so that nothing beside us hides that Python's own.
        code = (
            f"import sys; sys.path.append({str(Path(__file__).resolve().parent.parent)!r}); "
            f"from lpttrace.loader import main; main({theirs.fileno()})"
        )
        child = subprocess.Popen(
            [python, "-I", "-c", code],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=(theirs.fileno(),),
        )
        try:
            theirs.close()
            ours.send(_request(plan, cflags))
            data, ancillary, _, _ = ours.recvmsg(
                1 << 20, socket.CMSG_SPACE(4 * _MAX_FDS), socket.MSG_CMSG_CLOEXEC
            )
            fds = _received(ancillary)
            said = child.communicate()[1].decode(errors="replace")
        finally:
            if child.poll() is None:
                child.kill()
                child.communicate()
    if not data:
        last = (said.strip().splitlines() or [f"exit status {child.returncode}"])[-1]
        raise LpttraceError(f"the loader ({python}) ended without an answer: {last}")
    answer: dict[str, Any] = json.loads(data)
    return answer, fds


def _request(plan: Plan, cflags: Sequence[str]) -> bytes:
    probes = [
        {"name": p.name, "kind": p.kind, "target": p.target, "program": p.program}
        for p in plan.probes
    ]
    request = {
        "bpf": str(bpf_directory()),
        "defines": dict(plan.defines),
        "cflags": list(cflags),
        "probes": probes,
    }
    return json.dumps(request).encode()


def _received(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    fds = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return list(fds)
