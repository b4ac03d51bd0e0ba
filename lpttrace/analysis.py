# SPDX-License-Identifier: GPL-2.0-only
"""Whether the libraries that report and diff need are here: the extra lpttrace[analysis]."""

from __future__ import annotations

from importlib import import_module
from typing import Callable

from lpttrace.errors import LpttraceError

__all__ = ["MissingExtraError", "need"]

_MODULES = ("numpy", "scipy.stats", "matplotlib", "jinja2")


class MissingExtraError(LpttraceError):
    """The extra is not installed."""


def need(load: Callable[[str], object] = import_module) -> None:
    """MissingExtraError unless all of it can be imported, with the command that installs it."""
    for name in _MODULES:
        try:
            load(name)
        except ImportError as error:
            raise MissingExtraError(
                f"cannot analyse recordings: {name.split('.')[0]} cannot be imported ({error}); "
                "install it with: pip install 'lpttrace[analysis]'"
            ) from error
