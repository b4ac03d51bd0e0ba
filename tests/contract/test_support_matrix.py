# SPDX-License-Identifier: GPL-2.0-only
"""docs/support-matrix.md claims what the tests in the lab assert of each host, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

from tests.lab.test_main_job import HOSTS, Host
from tests.lab.test_migration import JOURNEYS

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs/support-matrix.md").read_text(encoding="utf-8")
Row = list[str]


def rows() -> dict[tuple[str, str], Row]:
    """The cells of the table of hosts, by kernel and mode."""
    found = re.findall(r"^\| `([\w.-]+)` \| (nVHE|VHE) \|(.*)\|$", TEXT, re.M)
    cells = {(kernel, mode.lower()): rest.split("|") for kernel, mode, rest in found}
    assert len(cells) == len(found)
    return {host: [cell.strip() for cell in row] for host, row in cells.items()}


def migrates(kernel: str, mode: str) -> bool:
    # The lab's default mode is nVHE.
    return mode == "nvhe" and kernel in {journey.kernel for journey in JOURNEYS}


def expected(host: Host) -> Row:
    """What tests/lab/test_main_job.py and test_migration.py assert of a host."""
    lpt = "updates, audit" if host.lpt else "none: said so"
    if migrates(host.kernel, host.mode):
        lpt += ", migration"
    if host.traps:
        return ["exact", "CNTP_*", "physical: exact, and lateness; virtual: nearly all", "yes", lpt]
    return ["exact", "none trap", "nearly all; by hardware: no lateness", "yes", lpt]


def test_every_host_of_the_main_test_has_its_row() -> None:
    exact = {host: row for host, row in rows().items() if row[0]}
    assert exact == {(host.kernel, host.mode): expected(host) for host in HOSTS}


def test_the_other_rows_claim_no_count() -> None:
    others = {host: row for host, row in rows().items() if not row[0]}
    assert set(others) == {("lpt-6.1-planted", "nvhe")}
    (row,) = others.values()
    assert row[2:4] == ["", ""] and row[4].startswith("migration: ")
    assert migrates("lpt-6.1-planted", "nvhe")


def test_every_kernel_of_the_lab_is_in_it_in_both_modes() -> None:
    kernels = re.findall(r'^\["([\w.-]+)"\]$', (ROOT / "deploy/lab/kernels.toml").read_text(), re.M)
    planted = "lpt-6.1-planted"
    modes = {(kernel, mode) for kernel in kernels if kernel != planted for mode in ("nvhe", "vhe")}
    assert planted in kernels
    assert set(rows()) == {*modes, (planted, "nvhe")}
