# SPDX-License-Identifier: GPL-2.0-only
"""Attaches an empty BPF program to each raw tracepoint that it is told, until it is interrupted."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import lpttrace

# bcc wants kernel headers; lpttrace's stubs will do.
os.environ["BCC_KERNEL_SOURCE"] = str(Path(lpttrace.__file__).parent / "bpf")

from bcc import BPF


def main(tracepoints: list[str]) -> None:
    text = "".join(f"int on_{name}(void *context) {{ return 0; }}\n" for name in tracepoints)
    programs = BPF(text=text)
    for name in tracepoints:
        programs.attach_raw_tracepoint(tp=name, fn_name=f"on_{name}")
    print("attached", flush=True)
    signal.sigwait({signal.SIGINT})


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    main(sys.argv[1:])
