# SPDX-License-Identifier: GPL-2.0-only
"""The full screen. Draws what the feed tells; no counting, no arithmetic, no I/O."""

from __future__ import annotations

import re
import socket
from collections.abc import Hashable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Callable, Optional, Union

from rich.text import Text
from textual import events, on
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.message import Message
from textual.widgets import Footer, Input, Static

from lpttrace.model import Model, alarms, not_visible, shortages
from lpttrace.model_order import arrange
from lpttrace.printable import printable
from lpttrace.render import age, losses_line, probes_line
from lpttrace.render_event import event_table
from lpttrace.render_lpt import ALARM
from lpttrace.top_rows import detail, rows
from lpttrace.top_screens import HELP, Page, sight
from lpttrace.top_table import Line, TableHead, VmTable, sorts

__all__ = ["TopApp", "View"]

_DETAIL_LEAST, _DETAIL_MOST = 3, 12
_MOST_ALARMS = 2


@dataclass(frozen=True)
class View:
    """What to show at first; kind is "live", "synthetic" or "replay", host where that is."""

    interval: float = 1.0
    sort: str = "vm"
    pattern: str = ""
    kind: str = "live"
    host: str = field(default_factory=socket.gethostname)


class _Attached(Message):
    def __init__(self, warnings: tuple[str, ...]) -> None:
        super().__init__()
        self.warnings = warnings


class _Frame(Message):
    def __init__(
        self, model: Model, command_status: Optional[int], moment: Optional[datetime]
    ) -> None:
        super().__init__()
        self.model = model
        self.moment = moment or datetime.now(timezone.utc)
        self.command_status = command_status


class _Failed(Message):
    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


class TopApp(App[Union[int, BaseException]]):
    """Shows frames as they are posted; returns an exit status or the error that ended the feed."""

    TITLE = "lpttrace"
    ENABLE_COMMAND_PALETTE = False
    # What is going on until there is a frame.
    BEFORE = "attaching…"
    HELP_TEXT = HELP
    CSS = """
    #head { height: 1; background: $primary; color: $text; padding: 0 1; }
    #notes { height: auto; max-height: 4; color: $warning; padding: 0 1; }
    #detail { height: 3; background: $surface; padding: 0 1; }
    #filter { height: 1; border: none; padding: 0 1; display: none; }
    #filter.open { display: block; }
    #titles { height: 1; padding: 0 1; background: $surface; }
    VmTable { height: 1fr; padding: 0 0 0 1; scrollbar-size-vertical: 1; scrollbar-gutter: stable; }
    .vm-table--selected { background: $accent; color: $text; }
    """
    BINDINGS = [
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("less_than_sign", "sort(-1)", "Sort", show=False),
        Binding("greater_than_sign", "sort(1)", "Sort", key_display="< >"),
        Binding("r", "reverse", "Reverse"),
        Binding("o", "expand(True)", "Open all", show=False),
        Binding("c", "expand(False)", "Close all", show=False),
        Binding("p", "pause", "Pause"),
        Binding("e", "events", "Events"),
        Binding("i", "sight", "Probes"),
        Binding("q", "leave", "Quit"),
        Binding("escape", "clear", "All VMs", show=False),
        Binding("ctrl+c", "leave", "Quit", show=False, priority=True),
    ]

    def __init__(self, view: View) -> None:
        super().__init__()
        self.view = view
        self.warnings: tuple[str, ...] = ()
        self._sort, self._reverse, self._pattern = view.sort, False, view.pattern
        self._expanded: set[Hashable] = set()
        self._model: Optional[Model] = None
        self._latest: Optional[Model] = None
        self._command_status: Optional[int] = None
        self._paused = False
        self._noted: Optional[str] = None
        self._moment = datetime.now(timezone.utc)
        self._page: Optional[tuple[Page, Callable[[Model], str]]] = None

    def compose(self) -> ComposeResult:
        """Head, notes, table, the selected row in detail, filter, keys."""
        yield Line(id="head")
        yield Static(id="notes")
        yield TableHead(id="titles")
        yield VmTable(id="table")
        yield Line(id="detail")
        yield Input(self._pattern, placeholder="part of a VM's label or name", id="filter")
        yield Footer()

    def on_resize(self, event: events.Resize) -> None:
        """A third of the screen, of which there is more to tell where there is more room."""
        rows = max(_DETAIL_LEAST, min(event.size.height // 3, _DETAIL_MOST))
        self.query_one("#detail", Line).styles.height = rows

    def on_mount(self) -> None:
        """The first screen comes before anything is attached."""
        self.query_one(VmTable).focus()
        self.query_one(TableHead).mark(self._sort, self._reverse)
        self._draw()

    # The feed's thread calls these; messages cross over to the screen's.
    def attached(self, warnings: tuple[str, ...]) -> None:
        """Counting has begun."""
        self.post_message(_Attached(warnings))

    def frame(
        self, model: Model, command_status: Optional[int], moment: Optional[datetime] = None
    ) -> None:
        """A new frame, of that moment if it is not of now."""
        self.post_message(_Frame(model, command_status, moment))

    def failed(self, error: BaseException) -> None:
        """There will be no more frames."""
        self.post_message(_Failed(error))

    @on(_Attached)
    def _on_attached(self, message: _Attached) -> None:
        self.warnings = message.warnings

    @on(_Frame)
    def _on_frame(self, message: _Frame) -> None:
        self._latest, self._moment = message.model, message.moment
        self._command_status = message.command_status
        if not self._paused:
            self._model = message.model
        self._draw()
        if self._page is not None and self._page[0].is_current:
            page, text = self._page
            page.show(text(message.model))

    @on(_Failed)
    def _on_failed(self, message: _Failed) -> None:
        self.exit(message.error)

    def _draw(self) -> None:
        self.query_one("#head", Line).show((self._head(),))
        model = self._model
        if model is None:
            self._note(self.BEFORE)
            return
        self._note("\n".join(self._notes(model)))
        shown = arrange(model.vms, self._sort, self._pattern, self._reverse)
        self.query_one(VmTable).show(rows(shown, self._expanded))
        self._draw_detail()

    def _note(self, text: str) -> None:
        # Its height depends on the text, so a change lays out the whole screen again.
        if text != self._noted:
            notes = self.query_one("#notes", Static)
            notes.display = bool(text)
            alarming = re.compile(rf"^{ALARM}: .*$", re.MULTILINE)
            shown = Text(text)
            shown.highlight_regex(alarming, "bold red")
            notes.update(shown)
            self._noted = text

    def _draw_detail(self) -> None:
        row = self.query_one(VmTable).selected
        lines = detail(row) if row is not None else ("no VM is running",)
        if row is None and self._pattern:
            lines = (f"no VM has {printable(self._pattern)!r} in its label or name",)
        self.query_one("#detail", Line).show(lines)

    def _head(self) -> str:
        parts = [f"lpttrace {printable(self.view.host)}"]
        if self.view.kind != "live":
            parts.append(self.view.kind.upper())
        parts.append(self.pace())
        if self._model is not None:
            vms = self._model.vms
            vcpus = sum(len(vm.pairs) for vm in vms)
            attached = age(self._model)
            probes = probes_line(self._model) + (f" for {attached}" if attached else "")
            parts += [f"{len(vms)} VMs {vcpus} vCPUs", probes]
            parts.append(losses_line(self._model))
        return "  ".join(parts)

    def pace(self) -> str:
        """How often there is a frame."""
        return "PAUSED" if self._paused else f"every {self.view.interval:g} s"

    def _notes(self, model: Model) -> list[str]:
        # The most important first: there is room for a few only.
        notes = _alarm_notes(alarms(model.vms))
        notes += shortages(model.snapshot.losses).values()
        if self._pattern and not self.query_one("#filter").has_class("open"):
            notes.append(f"only VMs with {printable(self._pattern)!r}; Esc shows all")
        if self._command_status is not None:
            notes.append(f"the command has ended with status {self._command_status}")
        notes += [f"{what} n/a: {printable(why)}" for what, why in not_visible(model.snapshot)]
        return notes

    @on(VmTable.Opened)
    def _on_opened(self, message: VmTable.Opened) -> None:
        (self._expanded.add if message.wanted else self._expanded.discard)(message.key)
        self._draw()

    @on(VmTable.Moved)
    def _on_moved(self) -> None:
        self._draw_detail()

    @on(TableHead.Clicked)
    def _on_head(self, message: TableHead.Clicked) -> None:
        self._order(message.sort, message.sort == self._sort and not self._reverse)

    @on(Input.Changed)
    def _on_typed(self, message: Input.Changed) -> None:
        self._pattern = message.value
        self._draw()

    @on(Input.Submitted)
    def _on_submitted(self) -> None:
        self._close_filter()

    def _close_filter(self) -> None:
        self.query_one("#filter").remove_class("open")
        self.query_one(VmTable).focus()
        self._draw()

    def _order(self, sort: str, reverse: bool) -> None:
        self._sort, self._reverse = sort, reverse
        self.query_one(TableHead).mark(sort, reverse)
        self._draw()

    def action_sort(self, step: int) -> None:
        """Sort by the column beside."""
        shown = sorts(self.size.width)
        here = shown.index(self._sort) if self._sort in shown else 0
        self._order(shown[(here + step) % len(shown)], False)

    def action_reverse(self) -> None:
        """Turn the order round."""
        self._order(self._sort, not self._reverse)

    def action_expand(self, wanted: bool) -> None:
        """Open or close all VMs."""
        self._expanded.clear()
        if wanted and self._model is not None:
            self._expanded.update(vm.counters.key for vm in self._model.vms)
        self._draw()

    def action_filter(self) -> None:
        """Let the user type what VMs to show."""
        self.query_one("#filter").add_class("open")
        self.query_one("#filter").focus()

    def action_clear(self) -> None:
        """Show all VMs again."""
        self._pattern = ""
        self.query_one("#filter", Input).value = ""
        self._close_filter()

    def action_pause(self) -> None:
        """Hold the screen, or show the latest frame again."""
        self._paused = not self._paused
        self._model = self._model if self._paused else self._latest
        self._draw()

    def action_help(self) -> None:
        """The keys."""
        self.push_screen(Page(self.HELP_TEXT))

    def action_sight(self) -> None:
        """Probes, losses and warnings."""
        self._open(lambda model: sight(model, self.warnings))

    def action_events(self) -> None:
        """LPT updates and calls about attributes of the VMs shown."""
        self._open(self._events)

    def _events(self, model: Model) -> str:
        shown = arrange(model.vms, self._sort, self._pattern, self._reverse)
        return event_table(model, shown, self._moment)

    def _open(self, text: Callable[[Model], str]) -> None:
        # As long as it is open, the page follows the frames.
        if self._latest is not None:
            page = Page(text(self._latest))
            self._page = page, text
            self.push_screen(page)

    def action_leave(self) -> None:
        """Quit."""
        self.exit(0)


def _alarm_notes(found: list[str]) -> list[str]:
    notes = [f"{ALARM}: {alarm}" for alarm in found[:_MOST_ALARMS]]
    more = len(found) - len(notes)
    return notes + ([f"{ALARM}: {more} more; sort by LPT to see whose"] if more else [])
