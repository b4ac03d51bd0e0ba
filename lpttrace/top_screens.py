# SPDX-License-Identifier: GPL-2.0-only
"""Screens over the table: the keys, and what this run can and cannot see."""

from __future__ import annotations

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from lpttrace import __version__
from lpttrace.model import Model
from lpttrace.printable import printable
from lpttrace.render import age, losses_line

__all__ = ["HELP", "Page", "sight"]

HELP = f"""lpttrace {__version__}

 ↑ ↓ PgUp PgDn Home End  move (also k, j)
 → Enter Space           open a VM into vCPUs, a vCPU into classes
 ←                       close it, or go to what it belongs to
 o  c                    open, close all VMs
 <  >                    sort by another column (or click its title)
 r                       reverse the order
 /                       show VMs whose label or name has what you type;
                         with * or ? all of it must match; Esc shows all
 p                       pause the screen; counting goes on
 e                       events: LPT updates, calls about VM attributes
 i                       probes, losses and warnings
 q  Ctrl-C               quit

 Everything but totals is of the last interval. Totals are since the probes were
 attached, above the table: by an agent that runs, or else by this top.
 HVC/s, TIMER/s  hypercalls, and trapped timer register accesses, a second
 MEAN, P99       from handler to kvm_entry, of those served in the kernel
                 without losing the CPU; quantiles are at most 12.5 % off;
                 MEAN needs a terminal of 100 columns
 IRQ/s           timer interrupts a second (120 columns)
 TRAP/IRQ        trapped accesses to timers' registers per timer interrupt
 late            from an emulated timer's deadline to the kvm_entry after it
 overdue         the deadline had passed when the guest set it
 stolen time     what the guest was told of, as a share of its vCPUs' time
 LPT             published, failed, off; unknown: the VM ran before lpttrace;
                 refused: the guest asked and has none; wrong: see ALARM
 n/a             cannot be seen on this host; above the table is why
 -               nothing happened that it could be computed from

 What LPT cannot do: firmware, and all in the guest but its kernel, still see
 the raw counter; nested guests have no LPT. Counter reads of a guest's user
 space that its own kernel traps are not seen here."""


class Page(ModalScreen[None]):
    """Text over the table, until a key closes it."""

    BINDINGS = [
        Binding("escape,q,enter,question_mark,i,e", "dismiss", "Close"),
        Binding("ctrl+c", "app.leave", "Quit", show=False, priority=True),
    ]
    DEFAULT_CSS = """
    Page { align: center middle; }
    Page VerticalScroll { width: 84; max-width: 100%; height: auto; max-height: 100%;
        border: round $primary; background: $surface; padding: 0 1; }
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        """Text, no markup: there are names in it that others chose."""
        with VerticalScroll():
            yield Static(Text(self._text), id="text")

    def show(self, text: str) -> None:
        """Replace the text."""
        if text != self._text:
            self._text = text
            self.query_one("#text", Static).update(Text(text))

    async def action_dismiss(self, result: None = None) -> None:
        """Back to the table."""
        self.dismiss()


def sight(model: Model, warnings: tuple[str, ...]) -> str:
    """Probes, losses and warnings in full."""
    attached = age(model)
    lines = [f"Probes, for {attached}: totals are since then" if attached else "Probes", ""]
    for probe in model.snapshot.probes:
        lines.append(f"  {probe.name:28} {'attached' if probe.attached else 'not attached'}")
        if not probe.attached:
            lines.append(f"    {printable(probe.reason)}")
    lines += ["", losses_line(model).capitalize()]
    if warnings:
        lines += ["", "Warnings", "", *(f"  {printable(warning)}" for warning in warnings)]
    return "\n".join(lines)
