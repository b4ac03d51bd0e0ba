# SPDX-License-Identifier: GPL-2.0-only
"""The command line: options, help, and exit statuses. The only importer of typer."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Optional

import typer
from typer import completion

from lpttrace import __version__, cli_app_diff, cli_app_record, cli_app_serve
from lpttrace.cli_guard import fail, guarded
from lpttrace.cli_options import (
    AS_JSON,
    BATCH,
    CLASSES,
    COUNT,
    EVENTS,
    LPT_SYMBOL_OPTION,
    MAX_VCPUS,
    OWN,
    PATTERN,
    PIN_DIR_OF_AGENT,
    SORT,
    SYNTHETIC,
    VCPUS,
    check_sort,
)
from lpttrace.errors import LpttraceError

__all__ = ["app", "run"]

_STATUSES = """\b
Exit status:
  0  success; of `top -- COMMAND`: COMMAND succeeded
  1  something failed while running
  2  the command line makes no sense
  3  this host cannot do it: architecture, KVM, BTF, tracepoints
  4  not root, or the kernel is locked down
  5  bcc is missing, is another package, or cannot load the programs
  6  parts of lpttrace of different versions
  7  `diff --fail-on VERDICT`: there is one, or nothing to compare
  126, 127  COMMAND cannot be run, or is not found
  129, 130, 141, 143  hangup, Ctrl-C, stdout was closed, SIGTERM"""

# Set by the shells' completion; the packages install that, not `--install-completion`.
_COMPLETE = "_LPTTRACE_COMPLETE"

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96},
)


def run(arguments: list[str]) -> int:
    """Run a command line; the status to end the process with."""
    command = typer.main.get_command(app)
    if _COMPLETE in os.environ:
        completion.completion_init()  # type: ignore[attr-defined]
    try:
        status = command.main(arguments, prog_name="lpttrace", standalone_mode=False)
    except typer.Abort:
        return 130
    except LpttraceError as error:
        return fail(str(error), error.exit_status)
    except Exception as error:
        # Usage errors of click, of which typer has its own copy or not, depending on version.
        if not hasattr(error, "format_message"):
            raise
        return _usage(error)
    return int(status or 0)


def _usage(error: Exception) -> int:
    message = error.format_message().rstrip(".")  # type: ignore[attr-defined]
    where = getattr(getattr(error, "ctx", None), "command_path", "lpttrace")
    text = message[:1].lower() + message[1:]
    print(f"error: {' '.join(text.split())}; see '{where} --help'", file=sys.stderr)
    return 2


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lpttrace {__version__}")
        raise typer.Exit


@app.callback(
    invoke_without_command=True,
    epilog=_STATUSES
    + """

\b
Examples:
  lpttrace doctor                  what this host can show
  lpttrace top                     watch it on this terminal
  lpttrace serve                   let Prometheus scrape it
  lpttrace record -o run.lpt       record it; `lpttrace replay run.lpt` shows that
  lpttrace top --synthetic 64x8    try the screen anywhere, with made-up numbers""",
)
def _root(
    context: typer.Context,
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """What guest time costs on this KVM/arm64 host: hypercalls, pvtime updates, timer traps."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


_INTERVAL = typer.Option(
    1.0, "--interval", metavar="SECONDS", min=0.1, max=86400, help="Time of a frame."
)


@app.command(
    context_settings={"allow_interspersed_args": False},
    epilog="""Means and quantiles (P50, P90, P99, MAX: at most 12.5 % off) are of the time from
handler (tracepoints kvm_hvc_arm64 and kvm_handle_sys_reg) to kvm_entry of the traps that were
served in the kernel in the interval. COUNT, OUT and VMM (traps kept apart, with their means), TOLD
and UPDATES are since lpttrace was attached. n/a cannot be seen on this host (a line says why), -
means that nothing happened. TRAP/IRQ and TIME/IRQ are the trapped accesses to a timer's registers,
and their service time, per interrupt of it. LATE is from an emulated timer's deadline to the
kvm_entry after it.

In --json everything is since lpttrace was attached, but for per_second, share and what is under
interval; null is n/a. An LPT structure that is wrong is in wrong_structure, and findings say why.

COMMAND starts when everything is attached. Its stdout goes to stderr, so that stdout has frames
only; on the full screen its output is shown after the end. With --once the frame comes when it
has ended and is about all of its run, with every VM that ended meanwhile; otherwise frames come
until it ends. It is terminated if lpttrace ends before it.

\b
Examples:
  lpttrace top                                 full screen; press ? there for its keys
  lpttrace top --once --classes                one table, down to function and register
  lpttrace top --batch --json --vm 'web*'      JSON lines of some VMs, until Ctrl-C
  lpttrace top --once --json -- ./workload     count what a workload's VMs do
  lpttrace top --interval 10 --count 6         a minute, in six frames""",
)
def top(
    command: Optional[list[str]] = typer.Argument(
        None, metavar="-- COMMAND", help="Run this, and show what it does."
    ),
    once: bool = typer.Option(False, "--once", help="One frame, after one interval."),
    batch: bool = BATCH,
    as_json: bool = AS_JSON,
    interval: float = _INTERVAL,
    count: int = COUNT,
    sort: str = SORT,
    pattern: str = PATTERN,
    vcpus: bool = VCPUS,
    classes: bool = CLASSES,
    events: bool = EVENTS,
    max_vcpus: int = MAX_VCPUS,
    lpt_symbol: str = LPT_SYMBOL_OPTION,
    synthetic: str = SYNTHETIC,
    pin_dir: str = PIN_DIR_OF_AGENT,
    own: bool = OWN,
) -> None:
    """Show VMs, vCPUs and what they trap, live.

    Hypercalls, timer traps and timer interrupts a second with what they cost, and the LPT state of
    every VM. Full screen on a terminal, frames of text otherwise.
    """

    def body() -> int:
        from lpttrace import cli_run
        from lpttrace.cli_source import SourceOptions

        check_sort(sort)
        return cli_run.top(
            SourceOptions(max_vcpus, lpt_symbol, synthetic, pin_dir, own),
            cli_run.TopOptions(
                once, batch, as_json, interval, count, sort, pattern, vcpus, classes, events
            ),
            command or (),
        )

    raise typer.Exit(guarded(body))


cli_app_serve.register(app)
cli_app_record.register(app)
cli_app_diff.register(app)


@app.command(
    epilog="""Ends with status 0 if hypercalls and timer traps can be measured on this host.

\b
Examples:
  lpttrace doctor
  lpttrace doctor --json | jq '.abilities[]'"""
)
def doctor(
    as_json: bool = typer.Option(False, "--json", help="The same as JSON."),
    lpt_symbol: str = LPT_SYMBOL_OPTION,
    pin_dir: str = PIN_DIR_OF_AGENT,
) -> None:
    """Say what this host offers and what it cannot show, with reasons and what to do."""

    def body() -> int:
        from lpttrace.doctor import run as diagnose

        return diagnose(as_json, lpt_symbol, Path(pin_dir))

    raise typer.Exit(guarded(body))


@app.command(
    epilog="""\b
Examples:
  lpttrace metrics
  lpttrace metrics --markdown > docs/metrics.md"""
)
def metrics(
    markdown: bool = typer.Option(False, "--markdown", help="As docs/metrics.md."),
) -> None:
    """List every metric there is."""

    def body() -> int:
        from lpttrace import catalog

        text = catalog.markdown() if markdown else catalog.plain()
        sys.stdout.write(text)
        return 0

    raise typer.Exit(guarded(body))
