# SPDX-License-Identifier: GPL-2.0-only
"""A recording as rows for other tools: the metrics of the catalogue, one value a row."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timezone
from typing import NamedTuple, TextIO, Union

from lpttrace import catalog
from lpttrace.exporter_columns import COLUMNS, LE, Distribution, in_ns
from lpttrace.exporter_rows import Run, Tables
from lpttrace.exporter_tables import tabulate
from lpttrace.exporter_view import View, select
from lpttrace.printable import printable
from lpttrace.recording_types import Frame, RecordedHost

__all__ = ["COLUMN_NAMES", "LABELS", "Row", "Tabulator", "rows", "write_csv", "write_json"]

_NS = 10**9


class Row(NamedTuple):
    """A sample: labels are those of the metric, and le of a histogram's bucket."""

    unix_ns: int
    metric: str
    name: str
    labels: Mapping[str, str]
    value: Union[int, float]


# What is about a scrape, not about what was recorded.
_OF_SCRAPES = {catalog.SCRAPES, catalog.SCRAPE_SECONDS, catalog.HTTP_REFUSED}


def _labels() -> tuple[str, ...]:
    metrics = [metric for metric in catalog.METRICS if metric.kind != "info"]
    found = dict.fromkeys(label for metric in metrics for label in metric.labels)
    return ("vm", "vcpu", *sorted({*found, "le"} - {"vm", "vcpu"}))


LABELS = _labels()
"""Of all metrics but those whose value is in their labels."""

COLUMN_NAMES = ("time", "metric", "name", *LABELS, "value")


class Tabulator:
    """Makes tables of frames, as a scrape at their time would have."""

    def __init__(self, host: RecordedHost, view: View) -> None:
        self.view = view
        self._host = host
        self._boot = 0.0

    def tables(self, frame: Frame) -> tuple[Tables, list[catalog.Metric]]:
        """With the metrics that could be seen then."""
        snapshot = select(frame.snapshot, frame.guests, self.view)
        # Of the first frame, for good: what happened then must not change with the clock.
        self._boot = self._boot or (frame.unix_ns - snapshot.end_ns) / _NS
        left_out = len(frame.snapshot.vms) - len(snapshot.vms)
        host = self._host
        run = Run(host.lpttrace, host.source, "", host.kernel, self._boot, left_out)
        attached = {probe.name for probe in snapshot.probes if probe.attached}
        seen = [metric for metric in catalog.METRICS if attached.issuperset(metric.probes)]
        tables = tabulate(snapshot, frame.guests, run, self.view.per_vcpu)
        return tables, [metric for metric in seen if metric not in _OF_SCRAPES]


def rows(frames: Iterable[Frame], tabulator: Tabulator) -> Iterator[Row]:
    """Of every frame in order, all that a scrape would have had."""
    for frame in frames:
        tables, metrics = tabulator.tables(frame)
        names = {guest.vm: guest.name for guest in frame.guests.values()}
        for metric in metrics:
            if metric.kind != "info":
                yield from _rows(frame.unix_ns, metric, tables, tabulator.view, names)


def _rows(
    unix_ns: int, metric: catalog.Metric, tables: Tables, view: View, names: Mapping[str, str]
) -> Iterator[Row]:
    table, place = COLUMNS[metric]
    wanted, nanoseconds = view.labels(metric.labels), in_ns(metric)
    for whose, what, values in getattr(tables, table):
        labels = dict(zip(wanted, whose.values + what.values))
        about = unix_ns, metric.name, names.get(labels.get("vm", ""), "")
        value = values[place]
        if isinstance(value, Distribution):
            yield from _buckets(about, labels, value)
        else:
            yield Row(*about, labels, value / _NS if nanoseconds else value)


def _buckets(
    about: tuple[int, str, str], labels: Mapping[str, str], value: Distribution
) -> Iterator[Row]:
    unix_ns, metric, name = about
    for le, count in zip(LE, value.buckets):
        yield Row(unix_ns, f"{metric}_bucket", name, {**labels, "le": le}, count)
    yield Row(unix_ns, f"{metric}_sum", name, labels, value.ns / _NS)
    yield Row(unix_ns, f"{metric}_count", name, labels, value.buckets[-1])


def _iso(unix_ns: int) -> str:
    moment = datetime.fromtimestamp(unix_ns // _NS, timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{unix_ns % _NS // 10**6:03}Z"


def write_csv(found: Iterable[Row], file: TextIO) -> None:
    """A row a line, each label in a column of its own; what a metric has not is empty."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMN_NAMES)
    for row in found:
        labels = [row.labels.get(label, "") for label in LABELS]
        writer.writerow([_iso(row.unix_ns), row.metric, _harmless(row.name), *labels, row.value])


def _harmless(text: str) -> str:
    # What begins so is a formula to a spreadsheet, and a VM's name is anybody's choice. CSV, unlike
    # JSON, has no way of its own to write what would do harm to a terminal.
    text = printable(text)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text


def write_json(found: Iterable[Row], file: TextIO) -> None:
    """An object a line."""
    for row in found:
        document = {
            "time": _iso(row.unix_ns),
            "metric": row.metric,
            **({"name": row.name} if row.name else {}),
            "labels": row.labels,
            "value": row.value,
        }
        file.write(json.dumps(document, separators=(",", ":")) + "\n")
