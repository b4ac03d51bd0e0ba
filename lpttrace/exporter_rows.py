# SPDX-License-Identifier: GPL-2.0-only
"""What tables are made of. Their metrics are in exporter_columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Union

from lpttrace.exporter_columns import Distribution
from lpttrace.exporter_labels import Labels

__all__ = ["Row", "Run", "Tables"]

Row = tuple[Labels, Labels, tuple[Union[int, float, Distribution], ...]]
"""Whose it is and what it is, and a value for each column: see TABLES, and in_ns."""


@dataclass(frozen=True)
class Run:
    """What is not in a snapshot: versions and source for lpttrace_build_info, release of the
    kernel, Unix time at boot, VMs that are left out, the scrapes there were with the nanoseconds
    they took, clients refused, by reason, and when all these were 0 (CLOCK_MONOTONIC; 0 if that is
    not known)."""

    version: str
    source: str
    python: str
    release: str
    boot: float
    left_out: int = 0
    scrapes: int = 0
    scrape_ns: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    since_ns: int = 0


def _rows() -> list[Row]:
    return []


@dataclass
class Tables:
    """The rows of every table of TABLES."""

    build: list[Row] = field(default_factory=_rows)
    kernel: list[Row] = field(default_factory=_rows)
    probes: list[Row] = field(default_factory=_rows)
    counter: list[Row] = field(default_factory=_rows)
    losses: list[Row] = field(default_factory=_rows)
    read: list[Row] = field(default_factory=_rows)
    slots: list[Row] = field(default_factory=_rows)
    records: list[Row] = field(default_factory=_rows)
    scrapes: list[Row] = field(default_factory=_rows)
    refusals: list[Row] = field(default_factory=_rows)
    programs: list[Row] = field(default_factory=_rows)
    vms: list[Row] = field(default_factory=_rows)
    vm_vcpus: list[Row] = field(default_factory=_rows)
    vcpus: list[Row] = field(default_factory=_rows)
    hypercalls: list[Row] = field(default_factory=_rows)
    hypercalls_apart: list[Row] = field(default_factory=_rows)
    hypercall_times: list[Row] = field(default_factory=_rows)
    timer_traps: list[Row] = field(default_factory=_rows)
    timer_traps_apart: list[Row] = field(default_factory=_rows)
    timer_trap_times: list[Row] = field(default_factory=_rows)
    interrupts: list[Row] = field(default_factory=_rows)
    lateness: list[Row] = field(default_factory=_rows)
    questions: list[Row] = field(default_factory=_rows)
    calls: list[Row] = field(default_factory=_rows)
    lpt: list[Row] = field(default_factory=_rows)
    lpt_updates: list[Row] = field(default_factory=_rows)
    lpt_structures: list[Row] = field(default_factory=_rows)
    lpt_published: list[Row] = field(default_factory=_rows)
    lpt_previous: list[Row] = field(default_factory=_rows)
    lpt_scales: list[Row] = field(default_factory=_rows)
    lpt_scale_errors: list[Row] = field(default_factory=_rows)
    lpt_findings: list[Row] = field(default_factory=_rows)
