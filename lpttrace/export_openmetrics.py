# SPDX-License-Identifier: GPL-2.0-only
"""A recording as OpenMetrics with timestamps, for `promtool tsdb create-blocks-from openmetrics`.

The format wants all of a series in one place, so values wait in memory: 12 bytes each.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from typing import TextIO

from lpttrace import catalog
from lpttrace.export import Tabulator
from lpttrace.exporter_columns import COLUMNS, LE, Distribution, in_ns
from lpttrace.exporter_text import head
from lpttrace.recording_types import Frame

__all__ = ["write_openmetrics"]

_NS = 10**9


class _Series:
    """The numbers of frames, and the values that were seen in them: of a histogram many at once."""

    __slots__ = ("frames", "values")

    def __init__(self) -> None:
        self.frames, self.values = array("I"), array("d")


_Families = dict[catalog.Metric, dict[str, _Series]]


def write_openmetrics(
    frames: Iterable[Frame], tabulator: Tabulator, labels: Mapping[str, str], file: TextIO
) -> None:
    """All of it; labels are added to every series."""
    times, families = _collect(frames, tabulator)
    added = "".join(f',{name}="{_escape(labels[name])}"' for name in sorted(labels))
    for metric, series in families.items():
        file.write(head(metric, openmetrics=True))
        write = _histogram if metric.kind == "histogram" else _samples
        for text, points in series.items():
            file.writelines(write(metric, (text + added).lstrip(","), points, times))
    file.write("# EOF\n")


def _collect(frames: Iterable[Frame], tabulator: Tabulator) -> tuple[list[str], _Families]:
    times: list[str] = []
    families: _Families = {metric: {} for metric in catalog.METRICS}
    for number, frame in enumerate(frames):
        # Prometheus has milliseconds, and refuses a series whose time goes back.
        times.append(f"{frame.unix_ns // 10**6 / 1000:.3f}")
        tables, metrics = tabulator.tables(frame)
        for metric in metrics:
            table, place = COLUMNS[metric]
            series = families[metric]
            for whose, what, values in getattr(tables, table):
                text, value = what.text + whose.text, values[place]
                points = series.get(text)
                if points is None:
                    points = series[text] = _Series()
                points.frames.append(number)
                if isinstance(value, Distribution):
                    points.values.extend((*value.buckets, value.ns))
                else:
                    points.values.append(value)
    return times, families


def _samples(metric: catalog.Metric, text: str, points: _Series, times: list[str]) -> Iterable[str]:
    end = "e-9" if in_ns(metric) else ""
    for number, value in zip(points.frames, points.values):
        yield f"{metric.name}{{{text}}} {_number(value)}{end} {times[number]}\n"


def _histogram(
    metric: catalog.Metric, text: str, points: _Series, times: list[str]
) -> Iterable[str]:
    name, size = metric.name, len(LE) + 1
    begin = text + "," if text else ""
    for place, number in enumerate(points.frames):
        *buckets, ns = points.values[place * size : (place + 1) * size]
        for le, count in zip(LE, buckets):
            yield f'{name}_bucket{{{begin}le="{le}"}} {_number(count)} {times[number]}\n'
        yield f"{name}_sum{{{text}}} {_number(ns)}e-9 {times[number]}\n"
        yield f"{name}_count{{{text}}} {_number(buckets[-1])} {times[number]}\n"


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
