# SPDX-License-Identifier: GPL-2.0-only
"""Tables as families of prometheus_client: for requests that need more than plain text."""

from __future__ import annotations

from typing import Any, Optional

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from lpttrace import catalog
from lpttrace.exporter_columns import COLUMNS, LE, Distribution, in_ns
from lpttrace.exporter_labels import created_at
from lpttrace.exporter_rows import Row, Tables
from lpttrace.exporter_view import View

__all__ = ["empty_family", "filled_family"]

# Quotients of integers are rounded once, however many nanoseconds there are.
_NS = 10**9


def empty_family(metric: catalog.Metric, view: View) -> Any:
    """A metric without samples."""
    if metric.kind == "info":
        return InfoMetricFamily(metric.family, metric.help)
    kind = {
        "counter": CounterMetricFamily,
        "gauge": GaugeMetricFamily,
        "histogram": HistogramMetricFamily,
    }[metric.kind]
    labels = view.labels(metric.labels)
    return kind(metric.family, metric.help, labels=labels, unit=metric.unit)


def filled_family(
    metric: catalog.Metric, tables: Tables, view: View, boot: Optional[float]
) -> Metric:
    """With its samples, and with boot, the Unix time of it, when counters were created."""
    family, (table, place) = empty_family(metric, view), COLUMNS[metric]
    rows: list[Row] = getattr(tables, table)
    for whose, what, values in rows:
        labels, value = whose.values + what.values, values[place]
        created = created_at(whose, boot) if metric.has_created else ""
        if isinstance(value, Distribution):
            family.add_metric(labels, list(zip(LE, value.buckets)), value.ns / _NS)
        elif metric.kind == "info":
            family.add_metric([], dict(zip(metric.labels, labels)))
        else:
            family.add_metric(labels, value / _NS if in_ns(metric) else value)
        if created:
            named = dict(zip(view.labels(metric.labels), labels))
            family.add_sample(f"{metric.family}_created", named, float(created))
    filled: Metric = family
    return filled
