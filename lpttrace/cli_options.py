# SPDX-License-Identifier: GPL-2.0-only
"""Options that several commands have."""

from __future__ import annotations

import typer

from lpttrace.cli_config import as_the_agent
from lpttrace.config import CONFIG_FILE
from lpttrace.errors import UsageError
from lpttrace.plan import LPT_SYMBOL

__all__ = [
    "AS_JSON",
    "BATCH",
    "CLASSES",
    "COUNT",
    "EVENTS",
    "LPT_SYMBOL_OPTION",
    "MAX_VCPUS",
    "NOT_PATTERNS",
    "OWN",
    "PATTERN",
    "PATTERNS",
    "PER_VCPU",
    "PIN_DIR",
    "PIN_DIR_OF_AGENT",
    "SORT",
    "SYNTHETIC",
    "VCPUS",
    "check_sort",
]

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
_PIN_DIR = ("/sys/fs/bpf/lpttrace", "--pin-dir")
PIN_DIR = typer.Option(
    *_PIN_DIR,
    metavar="DIR",
    help="Where to keep what it attaches: a directory of a BPF file system.",
)
PIN_DIR_OF_AGENT = typer.Option(
    *_PIN_DIR,
    metavar="DIR",
    is_eager=True,
    callback=as_the_agent,
    help=f"Where `serve` keeps what it attaches, unless {CONFIG_FILE} says where.",
)
SYNTHETIC = typer.Option(
    "",
    "--synthetic",
    metavar="VMSxVCPUS",
    help="Make up numbers for so many VMs and vCPUs each, instead of tracing this host.",
)
OWN = typer.Option(
    False, "--own", help="Attach programs of its own, though an agent has attached some."
)
BATCH = typer.Option(
    False, "--batch", help="Frames on stdout; the default where it is no terminal."
)
AS_JSON = typer.Option(
    False, "--json", help="Frames as JSON, one document a line; implies --batch."
)
COUNT = typer.Option(
    0, "--count", metavar="N", min=0, help="End after N frames, 0: never; implies --batch."
)
SORT = typer.Option(
    "vm",
    "--sort",
    metavar="KEY",
    help="vm, lpt, vcpus, hypercalls, hypercall-mean, hypercall-p99, timer-traps, "
    "timer-trap-mean, timer-trap-p99, interrupts or traps-per-interrupt.",
)
PATTERN = typer.Option(
    "",
    "--vm",
    metavar="PATTERN",
    help="VMs with this in label or name; with * or ?, all of it must match.",
)
PER_VCPU = typer.Option(
    True, "--per-vcpu/--per-vm", help="Counters of each vCPU, or their sums over a VM."
)
PATTERNS = typer.Option(
    [], "--vm", metavar="PATTERN", help="Only VMs that match this, or another --vm."
)
NOT_PATTERNS = typer.Option(
    [], "--not-vm", metavar="PATTERN", help="No VMs that match this; may be repeated."
)
VCPUS = typer.Option(False, "--vcpus", help="Add a table of vCPUs.")
CLASSES = typer.Option(False, "--classes", help="Add a table of functions and registers.")
EVENTS = typer.Option(
    False, "--events", help="Add a table of LPT updates and calls about VM attributes."
)


def check_sort(sort: str) -> None:
    """UsageError if nothing can be sorted by that."""
    from lpttrace.model_order import SORT_KEYS

    if sort not in SORT_KEYS:
        raise UsageError(f"cannot sort by {sort!r}; say one of {', '.join(SORT_KEYS)}")
