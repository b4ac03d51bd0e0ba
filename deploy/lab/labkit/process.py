# SPDX-License-Identifier: GPL-2.0-only
"""Running the tools that build things, with their output in a log."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from labkit.errors import LabError


def output(argv: Sequence[str]) -> str:
    """What a command prints; raises LabError if it cannot be run or fails."""
    try:
        done = subprocess.run(argv, check=True, text=True, capture_output=True)
    except FileNotFoundError as error:
        raise LabError(f"{argv[0]}: not found; run `lab setup` as root") from error
    except subprocess.CalledProcessError as error:
        raise LabError(f"{shlex.join(argv)}: {_last_line(error.stderr)}") from error
    return done.stdout


def logged(
    argv: Sequence[str],
    log: Path,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] = lambda line: None,
) -> None:
    """Runs a command, appends both its outputs to `log`, and shows each line to `on_line`.

    Raises LabError, with the log's path, if the command cannot be run or fails.
    """
    with log.open("a", encoding="utf-8") as file:
        file.write(f"+ {shlex.join(argv)}\n")
        file.flush()
        status = _stream(argv, cwd, {**os.environ, **(env or {})}, file.write, on_line)
    if status:
        raise LabError(f"{Path(argv[0]).name} failed with status {status}; its full log: {log}")


def _stream(
    argv: Sequence[str],
    cwd: Path | None,
    env: Mapping[str, str],
    write: Callable[[str], object],
    on_line: Callable[[str], None],
) -> int:
    try:
        process = subprocess.Popen(
            argv,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except FileNotFoundError as error:
        raise LabError(f"{argv[0]}: not found; run `lab setup` as root") from error
    with process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                write(line)
                on_line(line)
        except BaseException:
            process.terminate()
            raise
    return process.returncode


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "failed"
