# SPDX-License-Identifier: GPL-2.0-only
"""docs/support-matrix.md names what is run, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

from tests.lab.test_main_job import HOSTS

ROOT = Path(__file__).resolve().parents[2]


def test_every_host_of_the_main_test_has_its_row() -> None:
    text = (ROOT / "docs/support-matrix.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w.-]+)` \| (nVHE|VHE) \| (\w*)", text, re.M)
    exact = {(kernel, mode.lower()) for kernel, mode, counts in rows if counts == "exact"}
    assert exact == {(host.kernel, host.mode) for host in HOSTS}
    kernels = re.findall(r'^\["([\w.-]+)"\]$', (ROOT / "deploy/lab/kernels.toml").read_text(), re.M)
    assert {kernel for kernel, _, _ in rows} == set(kernels)
