# SPDX-License-Identifier: GPL-2.0-only
"""Imports point one way, and each third-party package has one door (design, section 2)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "lpttrace"

# A module may import from lower layers only; modules of one layer do not know each other.
LAYERS = (
    {"errors", "__init__"},
    {"abi", "btf", "catalog", "counter", "printable", "config", "privileges", "analysis"}
    | {"quantity"},
    {"snapshot", "host", "maps", "notify", "moment"},
    {"decode", "objects", "plan", "quantiles"},
    {"model"},
    {"recording"},
    {"blocks"},
    {"attach", "render", "web"},
    {"plot", "page"},
    {"diff", "report"},
    {"keep"},
    {"live", "frame_json", "frame_text"},
    {"loader", "guests", "exporter", "top", "doctor", "synthetic"},
    {"export"},
    {"cli"},
    {"__main__"},
)

DOORS = {
    "bcc": {"loader"},
    "psutil": {"guests"},
    "prometheus_client": {"exporter"},
    "textual": {"top"},
    "rich": {"top"},
    "typer": {"cli"},
    "h11": {"web"},
    "yaml": {"web"},
    "bcrypt": {"web"},
    "msgpack": {"recording"},
    "zstandard": {"recording"},
    "pyarrow": {"export"},
    "numpy": {"blocks", "diff", "plot", "report"},
    "scipy": {"diff"},
    "matplotlib": {"plot"},
    "jinja2": {"page"},
}


def stem(path: Path) -> str:
    # top_table.py and the like are parts of top.
    name = path.stem
    return next((m for layer in LAYERS for m in layer if name == m), name.split("_")[0])


def layer_of(module: str) -> int:
    for index, layer in enumerate(LAYERS):
        if module in layer:
            return index
    raise AssertionError(f"lpttrace/{module}.py has no layer: give it one here")


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "lpttrace":
            names |= {f"lpttrace.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


MODULES = sorted(PACKAGE.glob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_imports_point_down(path: Path) -> None:
    own = stem(path)
    for name in imported(path):
        if not name.startswith("lpttrace.") or name == "lpttrace.__version__":
            continue
        other = stem(Path(name.split(".")[1] + ".py"))
        assert other == own or layer_of(other) < layer_of(own), f"{own} imports {other}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_third_party_packages_have_one_door(path: Path) -> None:
    for name in imported(path):
        package = name.split(".")[0]
        if package in DOORS:
            assert stem(path) in DOORS[package], f"{path.name} imports {package}"
