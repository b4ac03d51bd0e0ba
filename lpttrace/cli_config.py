# SPDX-License-Identifier: GPL-2.0-only
"""Options that the configuration file of `serve` has where the command line says nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from lpttrace.cli_guard import warn
from lpttrace.config import CONFIG_FILE, KEYS, ConfigError, is_there, load

__all__ = ["PARAMETERS", "SHARED", "as_the_agent", "configure", "given"]

PARAMETERS = {key: key.replace("-", "_") for key in KEYS} | {
    "vm": "patterns",
    "not-vm": "not_patterns",
}
"""The parameter of `serve` that each key sets."""

SHARED = ("max-vcpus", "lpt-symbol", "pin-dir")
"""Keys that are about the host: other commands must take them as the agent does."""


def configure(context: typer.Context, value: str) -> str:
    """Callback of `serve --config`: the file is what click takes for options that are not given."""
    file = Path(value) if value else CONFIG_FILE
    if not value and not is_there(file):
        return ""
    context.default_map = _by_parameter(load(file))
    return str(file)


def as_the_agent(context: typer.Context, value: str) -> str:
    """Callback of --pin-dir, which must be eager: takes the agent's SHARED keys for its own.

    Only warns of a file with a mistake: looking at a host must not need a good one.
    """
    try:
        values = load(CONFIG_FILE) if is_there(CONFIG_FILE) else {}
    except ConfigError as error:
        warn(str(error))
        return value
    shared = _by_parameter({key: values[key] for key in SHARED if key in values})
    context.default_map = shared
    return value if _is_given(context, "pin_dir") else str(shared.get("pin_dir", value))


def given(context: typer.Context) -> tuple[str, ...]:
    """The keys that the command line has: a file that is read again does not change these."""
    return tuple(key for key, name in PARAMETERS.items() if _is_given(context, name))


def _by_parameter(values: Mapping[str, Any]) -> dict[str, Any]:
    return {PARAMETERS[key]: value for key, value in values.items()}


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
