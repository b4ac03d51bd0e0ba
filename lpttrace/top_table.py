# SPDX-License-Identifier: GPL-2.0-only
"""The table of VMs, vCPUs and classes.

Lines are formatted when they are drawn, so what a frame costs depends on the lines in view and
not on the number of VMs. (Textual's DataTable took four times as long for a frame.)
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import lru_cache
from typing import NamedTuple, Optional

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

from lpttrace.printable import fit, width
from lpttrace.render_columns import LPT_COLUMN, numbers
from lpttrace.render_lpt import ALARM
from lpttrace.top_rows import ClassRow, Row, VcpuRow, VmRow

__all__ = ["Line", "TableHead", "VmTable", "sorts"]

_GAP = 2
_LEAST_TITLE = 16
_LPT_WIDTH = 9
_STYLES = {
    "wrong": Style(color="red", bold=True, reverse=True),
    "failed": Style(color="red", bold=True),
    "refused": Style(color="yellow", bold=True),
    "published": Style(color="green"),
    "n/a": Style(dim=True),
    "-": Style(dim=True),
}
_ALARM = Style(color="red", bold=True)
_BOLD, _PLAIN, _ENDED = Style(bold=True), Style(), Style(dim=True)


class _Cell(NamedTuple):
    """A column of the screen; number says that it stands to the right."""

    title: str
    sort: str
    width: int
    number: bool


@lru_cache(maxsize=64)
def _layout(room: int, columns: int) -> tuple[_Cell, ...]:
    # room is the terminal's width, columns what the table has of it.
    shown = [_Cell(c.title, c.sort, c.width, True) for c in numbers(room)]
    shown.append(_Cell(LPT_COLUMN, "lpt", _LPT_WIDTH, False))
    taken = sum(cell.width + _GAP for cell in shown)
    title = max(_LEAST_TITLE, columns - taken)
    return (_Cell("VM / vCPU / class", "vm", title, False), *shown)


def sorts(room: int) -> list[str]:
    """What the columns of so wide a terminal sort by."""
    return [cell.sort for cell in _layout(room, room)]


def _place(index: int, cell: _Cell, text: str) -> str:
    shown = fit(text, cell.width)
    blank = " " * (cell.width - width(shown))
    gap = " " * _GAP if index else ""
    return gap + (blank + shown if cell.number else shown + blank)


class Line(Widget):
    """Lines without markup in a place of fixed size; those that change are drawn again."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._lines: Sequence[str] = ()

    def show(self, lines: Sequence[str]) -> None:
        """Replace the text."""
        for y in range(max(len(lines), len(self._lines))):
            if list(lines[y : y + 1]) != list(self._lines[y : y + 1]):
                self.refresh(Region(0, y, self.size.width, 1))
        self._lines = lines

    def render_line(self, y: int) -> Strip:
        """Cut at the right: a wrapped line would push the next out of sight."""
        columns, base = self.size.width, self.rich_style
        text = fit(self._lines[y], columns) if y < len(self._lines) else ""
        style = base + _ALARM if text.startswith(ALARM) else base
        return Strip([Segment(text, style)]).adjust_cell_length(columns, base)


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
        for index, cell in enumerate(_layout(self.app.size.width, self.size.width)):
            mark = "" if cell.sort != self._sort else "▴" if self._reverse else "▾"
            cells.append(_place(index, cell, cell.title + mark))
        return Text("".join(cells), style="bold", no_wrap=True)

    def on_click(self, event: events.Click) -> None:
        """Sort by the column that was clicked."""
        right = 0
        for index, cell in enumerate(_layout(self.app.size.width, self.size.width)):
            right += cell.width + (_GAP if index else 0)
            if event.x < right:
                self.post_message(self.Clicked(cell.sort))
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
        self._base = Style()

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

    def render_lines(self, crop: Region) -> list[Strip]:
        """Looks up once what all lines have in common: it costs as much as a line."""
        self._base = self.rich_style
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        """The line at that height of the screen."""
        index = y + self.scroll_offset.y
        columns_in_view = self.scrollable_content_region.width
        if index >= len(self._rows):
            return Strip.blank(columns_in_view, self._base)
        row = self._rows[index]
        base = self._base
        if index == self._at:
            base += self.get_component_rich_style("vm-table--selected")
        room = self.app.size.width
        segments = [
            Segment(_place(column, cell, text), base + _style(row, column, text))
            for column, (text, cell) in enumerate(
                zip(row.cells(numbers(room)), _layout(room, columns_in_view))
            )
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
