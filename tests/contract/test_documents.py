# SPDX-License-Identifier: GPL-2.0-only
"""What people read names metrics that there are, and says the same as the program."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from lpttrace.catalog import METRICS
from lpttrace.doctor import LPT_LIMITS
from tests.contract.dashboards import REPOSITORY, load, metrics_in, recorded
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


LIMITS = [f"- **{limit.name}**: {limit.detail}." for limit in LPT_LIMITS]


def items(markdown: str) -> list[str]:
    """Those of its lists, each on one line."""
    lines = re.sub(r"\n {2,}", " ", markdown).splitlines()
    return [line for line in lines if line.startswith("- ")]


def test_the_documents_say_what_lpt_does_not_do_as_doctor_does() -> None:
    text = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    _, section = text.split("\n## What LPT does not do for a guest\n")
    assert items(section.partition("\n## ")[0]) == LIMITS


def test_the_dashboard_says_what_lpt_does_not_do_as_doctor_does() -> None:
    panels = load(REPOSITORY / "dashboards" / "lpttrace-lpt.json")["panels"]
    (panel,) = (panel for panel in panels if panel["title"] == "What LPT does not do for a guest")
    assert items(panel["options"]["content"]) == LIMITS


def test_the_limits_are_those_that_the_rfc_leaves() -> None:
    assert [limit.name for limit in LPT_LIMITS] == [
        "raw counter",
        "nested guests",
        "guest user space",
        "event stream",
    ]
