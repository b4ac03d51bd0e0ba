# SPDX-License-Identifier: GPL-2.0-only
"""The agent in the lab's machine, where it traces 512 vCPUs: prints its resident KiB."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from bench.background import Background, ToolError, listening

VMS, VCPUS_EACH = 64, 8
OPS = "hvc:0x84000000=5,hvc:0x80000000=5,read:cntp_ctl_el0=5,write:cntp_cval_el0=5"
SCRAPES = 2


def main() -> int:
    with Background(["lpttrace", "serve"]) as agent:
        url = listening(agent)
        with _guests():
            for _ in range(SCRAPES):
                with urllib.request.urlopen(url, timeout=300) as answer:
                    exposition = answer.read().decode()
        shown = exposition.count('lpttrace_hypercalls_total{function="psci_version"')
        if shown != VMS * VCPUS_EACH:
            raise ToolError(f"lpttrace: shows {shown} vCPUs of {VMS * VCPUS_EACH}")
        print(resident_kib(Path(f"/proc/{agent.pid}/status").read_text()))
    return 0


@contextmanager
def _guests() -> Iterator[None]:
    """All have done their work and live on."""
    argv = ["labvmm", "--vm", f"vcpus={VCPUS_EACH},count={VMS}", "--ops", f"*.*:{OPS}", "--hold"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as vmm:
        assert vmm.stdin and vmm.stdout
        _read_document(vmm.stdout)
        yield
        vmm.stdin.close()


def _read_document(stream: IO[str]) -> None:
    """Until a whole JSON document has come: labvmm's when all guests are done."""
    text = ""
    for line in stream:
        text += line
        with suppress(ValueError):
            json.loads(text)
            return
    raise ToolError(f"labvmm: ended after {text!r}")


def resident_kib(status: str) -> int:
    """VmRSS in a process's /proc/PID/status."""
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return int(fields["VmRSS"].split()[0])


if __name__ == "__main__":
    sys.exit(main())
