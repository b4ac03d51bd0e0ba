# SPDX-License-Identifier: GPL-2.0-only
"""The rows of kernels.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from labkit.errors import LabError

DEFAULT = "lpt-6.1"
REQUIRED = {"description": str, "source": str, "config": list, "patches": list, "lpt": bool}
OPTIONAL = {"release": str}


@dataclass(frozen=True)
class Kernel:
    """One host kernel: what it is built from, and what it promises.

    `release` is None if `source` is a package of the release that this machine runs.
    """

    name: str
    description: str
    source: str
    release: str | None
    config: tuple[Path, ...]
    patches: tuple[Path, ...]
    lpt: bool


def load(path: Path) -> dict[str, Kernel]:
    """The kernels of a kernels.toml by name, in its order.

    Raises LabError naming the file, the row and the key that is wrong.
    """
    try:
        rows = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise LabError(f"{path}: cannot be read: {error}") from error
    return {name: _kernel(path, name, row) for name, row in rows.items()}


def packages(kernels: Iterable[Kernel]) -> set[str]:
    """The packages to be installed for these kernels."""
    return {kernel.source for kernel in kernels if kernel.release is None}


def find(kernels: Mapping[str, Kernel], name: str) -> Kernel:
    """The kernel of that name; the error lists those there are."""
    try:
        return kernels[name]
    except KeyError:
        known = ", ".join(kernels)
        raise LabError(f"no kernel is named {name!r}; there are: {known}") from None


def _kernel(path: Path, name: str, row: object) -> Kernel:
    if not isinstance(row, dict):
        raise LabError(f"{path}: {name}: not a table")
    for key in sorted((REQUIRED.keys() ^ row.keys()) - OPTIONAL.keys()):
        raise LabError(f"{path}: {name}: {key}: {'unknown key' if key in row else 'missing'}")
    for key, kind in (REQUIRED | OPTIONAL).items():
        if key in row and not isinstance(row[key], kind):
            raise LabError(f"{path}: {name}: {key}: not a {kind.__name__}")
    return Kernel(
        name=name,
        description=row["description"],
        source=row["source"],
        release=row.get("release"),
        config=tuple(path.parent / file for file in row["config"]),
        patches=tuple(path.parent / file for file in row["patches"]),
        lpt=row["lpt"],
    )
