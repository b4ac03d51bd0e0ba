# SPDX-License-Identifier: GPL-2.0-only
"""What report, diff and export make of a recording that may be anything."""

from __future__ import annotations

import io
import warnings
from contextlib import suppress
from pathlib import Path

from lpttrace.blocks import reduce
from lpttrace.cli_diff import group_of
from lpttrace.diff import compare
from lpttrace.diff_json import encode
from lpttrace.diff_text import text as diff_text
from lpttrace.errors import LpttraceError
from lpttrace.export import Tabulator, rows
from lpttrace.export_openmetrics import write_openmetrics
from lpttrace.export_parquet import write_parquet
from lpttrace.exporter_view import View
from lpttrace.recording_reader import Recording
from lpttrace.report import by_label, report_of
from lpttrace.report_text import text as report_text

__all__ = ["use_all"]

# Numbers that nobody measures may be more than a float is exact for, or has room for.
warnings.simplefilter("ignore")


def use_all(path: Path) -> None:
    """Nothing but our errors is raised."""
    for use in (_report, _diff, _openmetrics, _parquet):
        with suppress(LpttraceError), Recording(str(path)) as recording:
            use(recording)


def _report(recording: Recording) -> None:
    blocks = reduce(recording, by_label)
    if blocks is not None:
        report_text(report_of(blocks))


def _diff(recording: Recording) -> None:
    blocks = reduce(recording, group_of((), ()))
    if blocks is not None:
        found = compare([blocks], [blocks]).difference
        encode(found)
        diff_text(found, True)


def _openmetrics(recording: Recording) -> None:
    table = Tabulator(recording.host, View())
    write_openmetrics(recording.thin(0), table, {"a": "b"}, io.StringIO())


def _parquet(recording: Recording) -> None:
    table = Tabulator(recording.host, View())
    write_parquet(rows(recording.thin(0), table), Path(recording.path).with_suffix(".parquet"))
