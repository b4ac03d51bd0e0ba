# SPDX-License-Identifier: GPL-2.0-only
"""What `lpttrace export` does, once its options are known."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from lpttrace.cli_guard import warn
from lpttrace.cli_output import replacing
from lpttrace.cli_replay import Window, window
from lpttrace.errors import UsageError
from lpttrace.export import LABELS, Tabulator, rows, write_csv, write_json
from lpttrace.exporter_view import View
from lpttrace.printable import printable
from lpttrace.recording_set import open_recordings
from lpttrace.recording_types import Frame

__all__ = ["FORMATS", "ExportOptions", "export", "labels_of"]

FORMATS = ("csv", "json", "parquet", "openmetrics")


@dataclass(frozen=True)
class ExportOptions:
    """What of a recording to write, and how; output is empty for stdout."""

    form: str
    output: str = ""
    part: Window = Window()
    every_ns: int = 0
    view: View = View()
    labels: tuple[str, ...] = ()


def labels_of(told: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE as labels."""
    found = {}
    for text in told:
        match = re.fullmatch(r"([a-zA-Z_]\w*)=(.*)", text, re.ASCII | re.DOTALL)
        if match is None:
            raise UsageError(f"cannot use --label {text!r}: say NAME=VALUE")
        if match[1] in LABELS:
            raise UsageError(f"cannot use --label {text!r}: metrics have that label; name another")
        found[match[1]] = match[2]
    return found


def export(paths: Sequence[str], options: ExportOptions) -> int:
    """Write a recording in another format."""
    if options.form not in FORMATS:
        raise UsageError(f"cannot export to {options.form!r}; say one of {', '.join(FORMATS)}")
    labels = labels_of(options.labels)
    with open_recordings(paths) as recording:
        frames = window(recording, options.part, options.every_ns)
        tabulator = Tabulator(recording.host, options.view)
        host = {"instance": printable(recording.host.hostname), "job": "lpttrace", **labels}
        if options.output:
            with replacing(options.output, paths) as path:
                _to_file(frames, tabulator, options.form, host, path)
        elif options.form == "parquet":
            raise UsageError("cannot write parquet to stdout: name a file with -o")
        else:
            _text(frames, tabulator, options.form, host, sys.stdout)
        for text in filter(None, (recording.problem, recording.clock)):
            warn(text)
    return 0


def _to_file(
    frames: Iterable[Frame], tabulator: Tabulator, form: str, labels: Mapping[str, str], path: Path
) -> None:
    if form == "parquet":
        from lpttrace.export_parquet import write_parquet

        write_parquet(rows(frames, tabulator), path)
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            _text(frames, tabulator, form, labels, file)


def _text(
    frames: Iterable[Frame],
    tabulator: Tabulator,
    form: str,
    labels: Mapping[str, str],
    file: TextIO,
) -> None:
    if form == "openmetrics":
        from lpttrace.export_openmetrics import write_openmetrics

        write_openmetrics(frames, tabulator, labels, file)
    else:
        write = write_csv if form == "csv" else write_json
        write(rows(frames, tabulator), file)
