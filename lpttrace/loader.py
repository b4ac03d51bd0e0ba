# SPDX-License-Identifier: GPL-2.0-only
"""Compile, load and attach the programs with bcc, hand over the descriptors, and end.

A process of its own, so that the agent never maps LLVM. It runs under whichever Python can import
bcc, so it uses the standard library only. The request and the answer are one JSON message each on
a SOCK_SEQPACKET socket; descriptors come with the answer:

request  {"bpf": directory, "defines": {macro: number}, "cflags": [flag, ...] (optional),
          "probes": [{"name", "kind", "target", "program"}]}
answer   {"ok": true, "bcc": version, "maps": [name, ...],
          "probes": [{"name", "attached", "errno", "detail"}]}
         with one descriptor per map, then one per attached probe, then one of the program of each
         attached probe, in order; or
         {"ok": false, "error": "bcc_missing"|"bcc_wrong"|"compile"|"maps", "detail": text}

Probes stay attached as long as somebody holds their descriptor.
"""

from __future__ import annotations

import array
import ctypes
import json
import os
import re
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

from lpttrace.maps import insert
from lpttrace.objects import kprobe_event, link_to_event

__all__ = ["MAPS", "flatten", "main"]

MAPS = (
    *("slots", "vms", "losses", "free_slots", "free_vms"),
    *("tids", "vcpus", "kvms", "events", "room"),
)
"""Maps handed over, in order."""

_MAIN_SOURCE = "lpttrace.bpf.c"
_INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')


class _Failure(Exception):
    # What the answer says if nothing is loaded: error and detail.
    pass


def flatten(directory: Path, name: str = _MAIN_SOURCE) -> str:
    """The program's text with our own includes put in place, each once."""
    seen: set[str] = set()

    def lines_of(name: str) -> list[str]:
        if name in seen:
            return []
        seen.add(name)
        lines: list[str] = []
        for line in (directory / name).read_text().splitlines():
            include = _INCLUDE.match(line)
            lines += lines_of(include[1]) if include else [line]
        return lines

    return "\n".join(lines_of(name)) + "\n"


class _StderrCapture:
    # bcc and LLVM explain themselves on descriptor 2 only.

    def __enter__(self) -> _StderrCapture:
        self._file = tempfile.TemporaryFile()
        self._saved = os.dup(2)
        os.dup2(self._file.fileno(), 2)
        return self

    def __exit__(self, *_: object) -> None:
        os.dup2(self._saved, 2)
        os.close(self._saved)

    def text(self) -> str:
        self._file.seek(0)
        return self._file.read().decode(errors="replace")

    def first_error(self) -> str:
        lines = [line.strip() for line in self.text().splitlines() if line.strip()]
        errors = [line for line in lines if "error" in line.lower()]
        return (errors or lines or ["no message"])[0]

    def last_line(self) -> str:
        lines = [line.strip() for line in self.text().splitlines() if line.strip()]
        lines = [line for line in lines if not line.startswith("processed ")]
        return lines[-1] if lines else "no message"


def _import_bcc() -> Any:
    try:
        import bcc
    except ImportError as error:
        raise _Failure("bcc_missing", str(error)) from error
    if not hasattr(bcc, "BPF"):
        raise _Failure("bcc_wrong", str(getattr(bcc, "__file__", "a namespace package")))
    return bcc


def _compile(bcc: Any, request: dict[str, Any]) -> Any:
    directory = Path(request["bpf"])
    flags = [f"-D{name}={value:#x}ULL" for name, value in request["defines"].items()]
    with _StderrCapture() as said:
        try:
            return bcc.BPF(text=flatten(directory), cflags=flags + request.get("cflags", []))
        except Exception as error:
            raise _Failure("compile", said.first_error()) from error


def _map_fd(bcc: Any, bpf: Any, name: str) -> int:
    # Not bpf[name]: that has bcc make a Python type of the map's values.
    return int(bcc.lib.bpf_table_fd(bpf.module, name.encode()))


def _fill_free_lists(slots: int, vms: int, entries: int) -> None:
    for index in range(entries):
        insert(slots, index)
        insert(vms, index)


def _attach(bcc: Any, function: Any, kind: str, target: str) -> int:
    if kind == "raw_tracepoint":
        fd = bcc.lib.bpf_attach_raw_tracepoint(function.fd, target.encode())
    else:
        fd = _attach_kprobe(bcc, function, kind == "kretprobe", target)
    return int(fd)


def _attach_kprobe(bcc: Any, function: Any, returning: bool, target: str) -> int:
    # A link, because that can be pinned; where the kernel has none, as bcc does it.
    try:
        event = kprobe_event(target, returning)
        try:
            return link_to_event(function.fd, event)
        finally:
            os.close(event)
    except OSError:
        kind = "kretprobe" if returning else "kprobe"
        name = f"lpttrace_{kind}_{target}".encode()
        return int(
            bcc.lib.bpf_attach_kprobe(function.fd, int(returning), name, target.encode(), 0, 0)
        )


def _load_and_attach(
    bcc: Any, bpf: Any, probe: dict[str, str]
) -> tuple[dict[str, Any], tuple[int, int]]:
    # The answer about a probe; its descriptor, and that of its program.
    answer = {"name": probe["name"], "attached": False, "errno": 0, "detail": ""}
    raw = probe["kind"] == "raw_tracepoint"
    kind = bcc.BPF.RAW_TRACEPOINT if raw else bcc.BPF.KPROBE
    with _StderrCapture() as said:
        try:
            function = bpf.load_func(probe["program"], kind)
        except Exception:
            answer["detail"] = said.last_line()
            return answer, (-1, -1)
        ctypes.set_errno(0)
        fd = _attach(bcc, function, probe["kind"], probe["target"])
        answer["errno"] = ctypes.get_errno() if fd < 0 else 0
    answer["attached"] = fd >= 0
    return answer, (fd, function.fd)


def _serve(request: dict[str, Any]) -> tuple[dict[str, Any], list[int], Any]:
    # The third value keeps bcc's object alive: its destructor would detach and close.
    stubs = request["bpf"]
    os.environ["BCC_KERNEL_SOURCE"] = stubs
    with _StderrCapture():
        bcc = _import_bcc()
    bpf = _compile(bcc, request)
    try:
        slots, vms = (_map_fd(bcc, bpf, name) for name in ("free_slots", "free_vms"))
        _fill_free_lists(slots, vms, request["defines"]["MAX_VCPUS"])
    except OSError as error:
        raise _Failure("maps", f"cannot fill free_slots: {error.strerror}") from error
    results = [_load_and_attach(bcc, bpf, probe) for probe in request["probes"]]
    attached = [fds for answer, fds in results if answer["attached"]]
    fds = [_map_fd(bcc, bpf, name) for name in MAPS]
    fds += [probe for probe, _ in attached] + [program for _, program in attached]
    answers = [answer for answer, _ in results]
    version = str(getattr(bcc, "__version__", ""))
    return {"ok": True, "bcc": version, "maps": list(MAPS), "probes": answers}, fds, bpf


def main(fd: int) -> None:
    """Serve one request on the socket with that descriptor."""
    # Ctrl-C goes to the whole foreground group; the agent is the one to say so.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with socket.socket(fileno=fd) as channel:
        request = json.loads(channel.recv(1 << 20))
        fds: list[int] = []
        try:
            answer, fds, _keep = _serve(request)
        except _Failure as failure:
            answer = {"ok": False, "error": failure.args[0], "detail": failure.args[1]}
        rights = array.array("i", fds)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if fds else []
        channel.sendmsg([json.dumps(answer).encode()], ancillary)
        sys.stdout.flush()
        # Not through bcc's exit handlers: they take long and have nothing left to do.
        os._exit(0)
