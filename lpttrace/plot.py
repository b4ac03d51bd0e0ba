# SPDX-License-Identifier: GPL-2.0-only
"""Pictures as SVG whose colours are variables of the page they stand in. The only user of
matplotlib."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Optional

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from lpttrace.abi import BUCKET_BOUNDS
from lpttrace.render import duration, rate

__all__ = [
    "COLORS",
    "Heat",
    "Histogram",
    "Interval",
    "Line",
    "heats",
    "histograms",
    "intervals",
    "lines",
]

Array = npt.NDArray[np.float64]

COLORS = 8
"""So many lines can be told apart."""

# Stand-ins that are put into the SVG, and become variables of the page.
_SERIES = tuple(f"#00c0{number:02x}" for number in range(COLORS))
_INK, _MUTED, _GRID = "#00aa01", "#00aa02", "#00aa03"
_VARIABLES = {
    **{color: f"var(--c{number})" for number, color in enumerate(_SERIES)},
    _INK: "var(--ink)",
    _MUTED: "var(--muted)",
    _GRID: "var(--grid)",
}

_STYLE: dict[Any, Any] = {
    "axes.edgecolor": _GRID,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": _MUTED,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": _INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "figure.facecolor": "none",
    "font.size": 8,
    "grid.color": _GRID,
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "legend.labelcolor": _INK,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "lpttrace",
    "savefig.dpi": 150,
    "text.color": _INK,
    "text.parse_math": False,
    "xtick.color": _GRID,
    "xtick.labelcolor": _MUTED,
    "ytick.color": _GRID,
    "ytick.labelcolor": _MUTED,
}
_WIDTH = 9.0

_EDGES = np.array([BUCKET_BOUNDS[0] * 0.8, *BUCKET_BOUNDS, BUCKET_BOUNDS[-1] * 1.25])


@dataclass(frozen=True)
class Line:
    """Values over minutes."""

    label: str
    minutes: Array
    values: Array


@dataclass(frozen=True)
class Histogram:
    """Counts by bucket, one set or more to compare."""

    title: str
    counts: Sequence[tuple[str, Array]]


@dataclass(frozen=True)
class Heat:
    """Values by row and minute; edges has one more than there are columns. With times, rows are
    buckets; else they have labels."""

    title: str
    edges: Array
    values: Array
    labels: Optional[Sequence[str]] = None
    unit: str = ""


@dataclass(frozen=True)
class Interval:
    """A relative change with its bounds; color is 0 (better), 1 (worse) or 2."""

    label: str
    change: float
    low: float
    high: float
    color: int


@contextmanager
def _styled() -> Iterator[None]:
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # Of letters that the font for measuring lacks; the reader's browser has its own.
        warnings.simplefilter("ignore", UserWarning)
        yield


def lines(title: str, unit: str, of: Sequence[Line]) -> str:
    """Over time."""
    with _styled():
        figure = Figure(figsize=(_WIDTH, 2.6), layout="constrained")
        axes = figure.add_subplot()
        for number, line in enumerate(of[:COLORS]):
            axes.step(line.minutes, line.values, color=_SERIES[number], where="mid", lw=1.2)
            axes.lines[-1].set_label(line.label)
        axes.set(title=title, xlabel="minutes", ylabel=unit)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(_by_unit(unit))
        if len(of) > 1:
            axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8)
        return _svg(figure)


def _by_unit(unit: str) -> FuncFormatter:
    show = duration if "time" in unit else rate
    return FuncFormatter(lambda value, _: show(value))


def histograms(of: Sequence[Histogram]) -> str:
    """Of times, side by side."""
    with _styled():
        figure, panels = _panels(len(of), 1.9)
        for panel, axes in zip(of, panels):
            _histogram(axes, panel)
        return _svg(figure)


def _histogram(axes: Axes, panel: Histogram) -> None:
    seen = np.flatnonzero(np.sum([counts for _, counts in panel.counts], axis=0))
    first, last = (int(seen[0]), int(seen[-1])) if len(seen) else (0, 1)
    for number, (label, counts) in enumerate(panel.counts):
        shares = counts / max(1.0, counts.sum())
        color = _SERIES[number]
        axes.stairs(shares, _EDGES, color=color, lw=1.3, label=label)
        if len(panel.counts) == 1:
            axes.stairs(shares, _EDGES, color=color, alpha=0.35, fill=True)
    axes.set(title=panel.title, xscale="log", yscale="log")
    axes.set_xlim(_EDGES[max(0, first - 1)], _EDGES[min(len(_EDGES) - 1, last + 2)])
    _durations(axes, _EDGES[first], _EDGES[last + 1])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    axes.yaxis.set_minor_locator(NullLocator())
    if len(panel.counts) > 1:
        axes.legend(fontsize=7)


def _durations(axes: Axes, low: float, high: float) -> None:
    steps = [m * 10.0**e for e in range(1, 11) for m in (1, 2, 5)]
    inside = [step for step in steps if low * 0.8 <= step <= high * 1.2]
    shown = inside[:: max(1, -(-len(inside) // 5))]
    axes.xaxis.set_major_locator(FixedLocator(shown))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))


def _short(ns: float) -> str:
    for scale, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")):
        if ns >= scale:
            return f"{ns / scale:g} {unit}"
    return f"{ns:g} ns"


def heats(of: Sequence[Heat], height: float = 1.9, wide: bool = False) -> str:
    """Over time, side by side, or one below the other."""
    with _styled():
        figure, panels = _panels(len(of), height, 1 if wide else 2)
        for panel, axes in zip(of, panels):
            _heat(figure, axes, panel)
        return _svg(figure)


def _heat(figure: Figure, axes: Axes, panel: Heat) -> None:
    values = np.where(panel.values > 0, panel.values, np.nan)
    if panel.labels is None:
        seen = np.flatnonzero(panel.values.sum(axis=1))
        first, last = (int(seen[0]), int(seen[-1]) + 1) if len(seen) else (0, 1)
        values, rows = values[first:last], _EDGES[first : last + 1]
        axes.set_yscale("log")
        norm: Optional[LogNorm] = LogNorm() if np.isfinite(values).any() else None
    else:
        rows, norm = np.arange(len(panel.labels) + 1) - 0.5, None
    mesh = axes.pcolormesh(
        *(panel.edges, rows, values), cmap="viridis", norm=norm, rasterized=True, shading="flat"
    )
    axes.set(title=panel.title, xlabel="minutes")
    axes.grid(False)
    if panel.labels is None:
        axes.yaxis.set_major_locator(FixedLocator([10.0**e for e in range(1, 11)]))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
        return
    axes.set_yticks(range(len(panel.labels)), panel.labels)
    axes.invert_yaxis()
    bar = figure.colorbar(mesh, ax=axes, pad=0.01, aspect=30)
    bar.ax.yaxis.set_major_locator(MaxNLocator(4))
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: duration(value)))
    bar.outline.set_visible(False)


def intervals(title: str, of: Sequence[Interval], threshold: float) -> str:
    """One below the other, around no change."""
    with _styled():
        figure = Figure(figsize=(_WIDTH, 0.9 + 0.24 * len(of)), layout="constrained")
        axes = figure.add_subplot()
        axes.axvspan(-threshold, threshold, color=_GRID, alpha=0.6, lw=0)
        axes.axvline(0, color=_MUTED, lw=0.8)
        for place, one in enumerate(of):
            color = (_SERIES[2], _SERIES[1], _MUTED)[one.color]
            axes.plot([one.low, one.high], [place, place], color=color, lw=2)
            axes.plot([one.change], [place], "o", color=color, ms=4)
        axes.set_yticks(range(len(of)), [one.label for one in of])
        axes.tick_params(axis="y", labelcolor=_INK)
        axes.set_ylim(len(of) - 0.5, -0.5)
        axes.set(title=title)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:+g} %"))
        return _svg(figure)


def _panels(count: int, height: float, across: int = 2) -> tuple[Figure, Sequence[Axes]]:
    columns = min(across, max(1, count))
    rows = -(-count // columns)
    figure = Figure(figsize=(_WIDTH, height * max(1, rows)), layout="constrained")
    return figure, [figure.add_subplot(rows, columns, place + 1) for place in range(count)]


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    canvas: Any = FigureCanvasSVG(figure)
    canvas.print_svg(out, metadata={"Date": None, "Creator": None})
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)
    # The page says how wide it is; the viewBox is what it then is high.
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    return re.sub("|".join(_VARIABLES), lambda match: _VARIABLES[match[0]], svg)
