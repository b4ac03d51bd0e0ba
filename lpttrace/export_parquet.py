# SPDX-License-Identifier: GPL-2.0-only
"""A recording as Apache Parquet. The only importer of pyarrow, which is in an extra."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from lpttrace.errors import UsageError
from lpttrace.export import LABELS, Row

try:
    import pyarrow
    import pyarrow.parquet
except ImportError:
    raise UsageError(
        "cannot write parquet: pyarrow is not installed; pip install 'lpttrace[analysis]'"
    ) from None

__all__ = ["write_parquet"]

# In memory at a time.
_ROWS = 100_000

_TEXT = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())
_SCHEMA = pyarrow.schema(
    [
        ("time", pyarrow.timestamp("ns", "UTC")),
        ("metric", _TEXT),
        ("name", _TEXT),
        *((label, pyarrow.int32() if label == "vcpu" else _TEXT) for label in LABELS),
        ("value", pyarrow.float64()),
    ]
)


def write_parquet(found: Iterable[Row], path: Path) -> None:
    """A row of the recording is a row there; what a metric has not is null."""
    rows = iter(found)
    with pyarrow.parquet.ParquetWriter(path, _SCHEMA, compression="zstd") as writer:
        for group in _groups(rows):
            writer.write_table(pyarrow.table(_columns(group), schema=_SCHEMA))


def _groups(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while group := list(islice(rows, _ROWS)):
        yield group


def _columns(group: list[Row]) -> dict[str, object]:
    columns: dict[str, list[object]] = {
        "time": [row.unix_ns for row in group],
        "metric": [row.metric for row in group],
        "name": [row.name or None for row in group],
        "value": [float(row.value) for row in group],
    }
    for label in LABELS:
        texts = [row.labels.get(label) for row in group]
        columns[label] = [text and int(text) for text in texts] if label == "vcpu" else [*texts]
    return {name: pyarrow.array(columns[name], type=_SCHEMA.field(name).type) for name in columns}
