# SPDX-License-Identifier: GPL-2.0-only
"""Tables as Prometheus text and OpenMetrics.

prometheus_client takes twenty times as long for the same samples, and at 512 vCPUs that would be
most of what a scrape costs; tests/unit/test_exporter_text.py holds the two together.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Any, Optional

from lpttrace import catalog
from lpttrace.exporter_columns import COLUMNS, LE, Distribution, in_ns
from lpttrace.exporter_labels import created_at
from lpttrace.exporter_rows import Row, Tables

__all__ = ["compress", "encode", "head"]

# The fastest by far: the best is a quarter smaller and takes twelve times as long.
_LEVEL = 1
_GZIP = 31

# A part stays so small (of histograms some 140 KB) that its memory is used for the next one:
# fresh pages from the kernel are not free.
_ROWS = 64


def encode(
    tables: Tables,
    metrics: Iterable[catalog.Metric],
    openmetrics: bool,
    boot: Optional[float] = None,
) -> Iterator[bytes]:
    """The exposition of these metrics in parts; without the end mark of OpenMetrics.

    With boot, the Unix time of it, OpenMetrics tells when counters were created.
    """
    boot = boot if openmetrics else None
    taken_apart: dict[str, tuple[list[str], list[tuple[Any, ...]]]] = {}
    for metric in metrics:
        table, place = COLUMNS[metric]
        if table not in taken_apart:
            taken_apart[table] = _take_apart(getattr(tables, table))
        texts, columns = taken_apart[table]
        write = _histograms if metric.kind == "histogram" else _samples
        lines = write(metric, texts, columns[place]) if columns else []
        if boot is not None and metric.has_created:
            lines = _with_created(metric, lines, texts, getattr(tables, table), boot)
        yield head(metric, openmetrics).encode()
        for begin in range(0, len(lines), _ROWS):
            yield "".join(lines[begin : begin + _ROWS]).encode()


def _take_apart(rows: list[Row]) -> tuple[list[str], list[tuple[Any, ...]]]:
    # What is between the braces of every row, and the columns.
    texts = [what.text + whose.text for whose, what, _ in rows]
    return texts, list(zip(*[values for _, _, values in rows]))


def head(metric: catalog.Metric, openmetrics: bool) -> str:
    """What comes before the samples of a metric."""
    name, kind, text = metric.name, metric.kind, _escape(metric.help)
    if openmetrics:
        name, text = metric.family, text.replace('"', r"\"")
    elif kind == "info":
        kind = "gauge"
    unit = f"# UNIT {name} {metric.unit}\n" if openmetrics and metric.unit else ""
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n{unit}"


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _samples(metric: catalog.Metric, texts: list[str], values: tuple[Any, ...]) -> list[str]:
    # Nanoseconds become seconds by an exponent: exact, and quicker than a quotient.
    end = "e-9\n" if in_ns(metric) else "\n"
    if not metric.labels:
        return [f"{metric.name} {values[0]}{end}"]
    begin = metric.name + "{"
    return [f"{begin}{text}}} {value}{end}" for text, value in zip(texts, values)]


def _histograms(
    metric: catalog.Metric, texts: list[str], values: tuple[Distribution, ...]
) -> list[str]:
    name = metric.name
    lines = "".join(f'{name}_bucket{{\0,le="{le}"}} %d\n' for le in LE)
    lines += f"{name}_sum{{\0}} %de-9\n{name}_count{{\0}} %d\n"
    return [
        (lines % (*buckets, ns, buckets[-1])).replace("\0", text)
        for text, (buckets, ns) in zip(texts, values)
    ]


def _with_created(
    metric: catalog.Metric, lines: list[str], texts: list[str], rows: list[Row], boot: float
) -> list[str]:
    # Right after the samples it is about, as OpenMetrics has it.
    name, together = f"{metric.family}_created", []
    for line, text, (whose, _, _) in zip(lines, texts, rows):
        created = created_at(whose, boot)
        labels = f"{{{text}}}" if text else ""
        together.append(f"{line}{name}{labels} {created}\n" if created else line)
    return together


def compress(parts: Iterable[bytes]) -> list[bytes]:
    """As gzip, in parts."""
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    return [*map(packer.compress, parts), packer.flush()]
