# SPDX-License-Identifier: GPL-2.0-only
"""Options that several commands have."""

from __future__ import annotations

import typer

from lpttrace.plan import LPT_SYMBOL

__all__ = ["LPT_SYMBOL_OPTION", "MAX_VCPUS", "PIN_DIR", "SYNTHETIC"]

MAX_VCPUS = typer.Option(
    512,
    "--max-vcpus",
    metavar="N",
    min=1,
    max=65536,
    help="Count at most N vCPUs at a time; memory grows with N.",
)
LPT_SYMBOL_OPTION = typer.Option(
    LPT_SYMBOL,
    "--lpt-symbol",
    metavar="NAME",
    help="The kernel function that updates LPT, if your kernel's patches renamed it.",
)
PIN_DIR = typer.Option(
    "/sys/fs/bpf/lpttrace",
    "--pin-dir",
    metavar="DIR",
    help="Where `serve` keeps what it attaches: a directory of a BPF file system.",
)
SYNTHETIC = typer.Option(
    "",
    "--synthetic",
    metavar="VMSxVCPUS",
    help="Make up numbers for so many VMs and vCPUs each, instead of tracing this host.",
)
