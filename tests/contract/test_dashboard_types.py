# SPDX-License-Identifier: GPL-2.0-only
"""Dashboards against the types that Grafana publishes (tests/grafana), by its own compiler."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.contract.dashboards import DASHBOARDS, REPOSITORY

GRAFANA = REPOSITORY / "build" / "grafana"
TYPES = REPOSITORY / "tests" / "grafana"

# Each is a slip of the pen: what is written, and what was meant.
SLIPS = {
    "unit": ('"unit": "ops"', '"unit": "opz"'),
    "option": ('"cellHeight"', '"cellHeigth"'),
    "kind": ('"type": "heatmap"', '"type": "heat map"'),
    "expression": ('"expr":', '"query":'),
    "legend": ('"displayMode": "table"', '"displayMode": "tabel"'),
    "field": ('"spanNulls"', '"spanNull"'),
    "variable": ('"refresh": 2', '"refresh": 7'),
    "annotation": ('"iconColor"', '"color"'),
    "threshold": ('"mode": "absolute"', '"mode": "total"'),
    "boolean": ('"showColorScale": true', '"showColorScale": "true"'),
    "source": ('"uid": "${datasource}"', '"uid": "prometheus"'),
    "text": ('"noValue"', '"novalue"'),
}


def complaints(texts: Mapping[str, str], directory: Path) -> dict[str, list[str]]:
    """What tsc says of each dashboard."""
    for file in ("dashboard.ts", "tsconfig.json"):
        shutil.copy(TYPES / file, directory)
    for name, text in texts.items():
        head = 'import type { Dashboard } from "./dashboard";\nexport const it: Dashboard =\n'
        (directory / f"{name}.ts").write_text(f"{head}{text};\n", encoding="utf-8")
    compiler = GRAFANA / "node_modules" / "typescript" / "bin" / "tsc"
    node = Path(sys.executable).with_name("node")
    done = subprocess.run([node, compiler], cwd=directory, capture_output=True, text=True)
    assert not done.stderr and bool(done.stdout) == bool(done.returncode), done
    said = re.findall(r"^([^(\s]+)\.ts\((.*)", done.stdout, re.MULTILINE)
    assert bool(said) == bool(done.stdout), done.stdout
    return {name: [what for whose, what in said if whose == name] for name, _ in said}


@pytest.fixture
def directory() -> Iterator[Path]:
    """Where node finds the packages."""
    with tempfile.TemporaryDirectory(dir=GRAFANA) as name:
        yield Path(name)


def test_dashboards_are_of_the_published_types(directory: Path) -> None:
    texts = {path.stem: path.read_text(encoding="utf-8") for path in DASHBOARDS}
    assert len(texts) == 6
    assert complaints(texts, directory) == {}


def test_a_slip_is_found(directory: Path) -> None:
    good = next(path for path in DASHBOARDS if path.stem == "lpttrace-host").read_text("utf-8")
    texts = {name: good.replace(*slip, 1) for name, slip in SLIPS.items()}
    assert all(text != good for text in texts.values())
    assert set(complaints(texts, directory)) == set(SLIPS)
