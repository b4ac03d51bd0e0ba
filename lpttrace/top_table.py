# SPDX-License-Identifier: GPL-2.0-only
"""The table of VMs, vCPUs and classes.

Lines are formatted when they are drawn, so what a frame costs depends on the lines in view and
not on the number of VMs. (Textual's DataTable took four times as long for a frame.)
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Optional

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual import events
from textual.binding import Binding
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget

from lpttrace.render import fit, width
from lpttrace.top_rows import COLUMNS, ClassRow, Row, VcpuRow, VmRow

__all__ = ["Line", "TableHead", "VmTable"]

_GAP = 2
_LEAST_TITLE = 16
_STYLES = {
    "failed": Style(color="red", bold=True),
    "published": Style(color="green"),
    "n/a": Style(dim=True),
    "-": Style(dim=True),
}
_BOLD, _PLAIN, _ENDED = Style(bold=True), Style(), Style(dim=True)


def _widths(columns: int) -> list[int]:
    taken = sum(column.width + _GAP for column in COLUMNS[1:])
    return [max(_LEAST_TITLE, columns - taken), *(column.width for column in COLUMNS[1:])]


def _place(index: int, text: str, columns: int) -> str:
    # Numbers stand to the right; titles and the LPT state, first and last, to the left.
    shown = fit(text, columns)
    blank = " " * (columns - width(shown))
    gap = " " * _GAP if index else ""
    return gap + (shown + blank if index in (0, len(COLUMNS) - 1) else blank + shown)


class Line(Widget):
    """Text without markup in a place of fixed size, redrawn only when it changes."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._lines = ""

    def show(self, text: str) -> None:
        """Replace the text."""
        if text != self._lines:
            self._lines = text
            self.refresh()

    def render(self) -> Text:
        """Every line cut at the right: a wrapped one would push the next out of sight."""
        lines = (fit(line, self.size.width) for line in self._lines.split("\n"))
        return Text("\n".join(lines), no_wrap=True)


class TableHead(Widget):
    """The titles of the columns; a click sorts."""

    class Clicked(Message):
        """The user wants the rows sorted by this key."""

        def __init__(self, sort: str) -> None:
            super().__init__()
            self.sort = sort

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._sort, self._reverse = "", False

    def mark(self, sort: str, reverse: bool) -> None:
        """Say by what the rows are sorted."""
        self._sort, self._reverse = sort, reverse
        self.refresh()

    def render(self) -> Text:
        """One line."""
        cells = []
        for index, (column, columns) in enumerate(zip(COLUMNS, _widths(self.size.width))):
            mark = "" if column.sort != self._sort else "▴" if self._reverse else "▾"
            cells.append(_place(index, column.title + mark, columns))
        return Text("".join(cells), style="bold", no_wrap=True)

    def on_click(self, event: events.Click) -> None:
        """Sort by the column that was clicked."""
        right = 0
        for index, (column, columns) in enumerate(zip(COLUMNS, _widths(self.size.width))):
            right += columns + (_GAP if index else 0)
            if event.x < right:
                self.post_message(self.Clicked(column.sort))
                return


class VmTable(ScrollView, can_focus=True):
    """The rows, one of them selected."""

    COMPONENT_CLASSES = {"vm-table--selected"}
    BINDINGS = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home,g", "move(-1000000)", "Top", show=False),
        Binding("end,G", "move(1000000)", "Bottom", show=False),
        Binding("enter,space", "toggle_row", "Open", show=False),
        Binding("right,l", "open(True)", "Open", show=False),
        Binding("left,h", "open(False)", "Close", show=False),
    ]

    class Opened(Message):
        """The user wants the children of a row shown or not."""

        def __init__(self, key: Hashable, wanted: bool) -> None:
            super().__init__()
            self.key = key
            self.wanted = wanted

    class Moved(Message):
        """Another row is selected."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._rows: Sequence[Row] = ()
        self._at = 0

    @property
    def selected(self) -> Optional[Row]:
        """The selected row, if there are rows."""
        return self._rows[self._at] if self._rows else None

    def show(self, rows: Sequence[Row]) -> None:
        """Show these rows; the selection stays on its row, wherever that goes."""
        selected = self.selected
        at = self._at
        if selected is not None and not (at < len(rows) and rows[at].key == selected.key):
            keys = {row.key: index for index, row in enumerate(rows)}
            at = keys.get(selected.key, at)
        if len(rows) != len(self._rows):
            self.virtual_size = Size(0, len(rows))
        self._rows = rows
        if at != self._at:
            self._select(at)
        self._at = max(0, min(self._at, len(rows) - 1))
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """The line at that height of the screen."""
        index = y + self.scroll_offset.y
        columns_in_view = self.scrollable_content_region.width
        if index >= len(self._rows):
            return Strip.blank(columns_in_view, self.rich_style)
        row = self._rows[index]
        base = self.rich_style
        if index == self._at:
            base += self.get_component_rich_style("vm-table--selected")
        segments = [
            Segment(_place(column, text, columns), base + _style(row, column, text))
            for column, (text, columns) in enumerate(zip(row.cells(), _widths(columns_in_view)))
        ]
        return Strip(segments).adjust_cell_length(columns_in_view, base)

    def _select(self, index: int) -> None:
        self._at = max(0, min(index, len(self._rows) - 1))
        self.scroll_to_region(Region(0, self._at, 1, 1), animate=False, force=True)
        self.refresh()
        self.post_message(self.Moved())

    def on_click(self, event: events.Click) -> None:
        """Select; open or close what is selected already."""
        index = event.y + self.scroll_offset.y
        if index == self._at:
            self.action_toggle_row()
        elif index < len(self._rows):
            self._select(index)

    def action_move(self, rows: int) -> None:
        """Select another row."""
        self._select(self._at + rows)

    def action_page(self, pages: int) -> None:
        """Select a row a screen away."""
        self._select(self._at + pages * max(1, self.size.height - 1))

    def action_toggle_row(self) -> None:
        """Open what is closed and the other way round."""
        row = self.selected
        if row is not None and not isinstance(row, ClassRow):
            self.post_message(self.Opened(row.key, not row.expanded))

    def action_open(self, wanted: bool) -> None:
        """Open; or close, and where nothing is open go up to the parent."""
        row = self.selected
        if row is None or (wanted and isinstance(row, ClassRow)):
            return
        if not isinstance(row, ClassRow) and row.expanded != wanted:
            self.post_message(self.Opened(row.key, wanted))
        elif not wanted and not isinstance(row, VmRow):
            vm = row.vm.counters.key
            parent = vm if isinstance(row, VcpuRow) else (vm, row.vcpu.counters.vcpu)
            self._select(next(i for i, other in enumerate(self._rows) if other.key == parent))


def _style(row: Row, column: int, text: str) -> Style:
    if column:
        return _STYLES.get(text, _PLAIN)
    if not row.vm.counters.alive:
        return _ENDED
    return _BOLD if isinstance(row, VmRow) else _PLAIN
