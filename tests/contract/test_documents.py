# SPDX-License-Identifier: GPL-2.0-only
"""What people read names metrics that there are."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lpttrace.catalog import METRICS
from tests.contract.dashboards import REPOSITORY, metrics_in, recorded
from tests.contract.test_dashboards import OF_WIRE

FILES = {"lpttrace_abi"}
KNOWN = {*OF_WIRE, *(metric.name for metric in METRICS), *recorded(), *FILES}


def documents() -> list[Path]:
    command = ["git", "-C", str(REPOSITORY), "ls-files", "*.md", "*.yml", "*.service"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True)
    return [REPOSITORY / line for line in listed.stdout.splitlines()]


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_documents_name_metrics_that_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    # A pattern names several.
    names = {name for name in metrics_in(text) if not name.endswith("_")}
    assert names <= KNOWN
