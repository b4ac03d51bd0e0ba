# SPDX-License-Identifier: GPL-2.0-only
"""The command line of recordings: `lpttrace record`, `replay` and `export`."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import typer

from lpttrace.cli_guard import guarded
from lpttrace.cli_options import (
    AS_JSON,
    BATCH,
    CLASSES,
    COUNT,
    EVENTS,
    LPT_SYMBOL_OPTION,
    MAX_VCPUS,
    NOT_PATTERNS,
    OWN,
    PATTERN,
    PATTERNS,
    PER_VCPU,
    PIN_DIR_OF_AGENT,
    SORT,
    SYNTHETIC,
    VCPUS,
    check_sort,
)
from lpttrace.errors import UsageError

__all__ = ["register"]

_REPLAY_EPILOG = """The screen is that of `lpttrace top`, with the recording's time: p plays and
pauses, comma and full stop go one frame back and on, [ ] ten seconds, { } a tenth of it, - and +
change the speed; ? has all keys.

Without a terminal, or with --batch or --json, frames come as fast as they can be read. --once is
one frame about all of the recording, with every VM that ended meanwhile. MOMENT is a time since
the begin (90s, 10m), a time of day in UTC (10:15), or both (2026-11-25T10:15:30Z).

Several files, or those of a directory, are shown as one recording, such as those that `record` made
with --max-size or --keep.

A recording that is cut off or damaged is shown to where that is, and a line says so.

\b
Examples:
  lpttrace replay run.lpt
  lpttrace replay /var/lib/lpttrace --from 2026-11-25T10:15
  lpttrace replay run.lpt --from 10:15 --speed 10
  lpttrace replay run.lpt --once --classes
  lpttrace replay run.lpt --json --interval 1m | jq .losses"""

_EXPORT_EPILOG = """Metrics are those of `lpttrace metrics`, as a scrape at the time of each frame
would have had them, one value a row; --interval makes fewer. csv has a column for every label, json
an object a line, parquet (pip install 'lpttrace[analysis]') columns with types.

openmetrics has times, so that it can be filled into a Prometheus. It gets the labels instance (the
host's name) and job (lpttrace), as a scrape would have given them; --label changes and adds some.

\b
Examples:
  lpttrace export run.lpt --to csv -o run.csv
  lpttrace export run.lpt --to parquet -o run.parquet --interval 10s
  lpttrace export run.lpt --to openmetrics --interval 15s -o run.om
  promtool tsdb create-blocks-from openmetrics run.om /var/lib/prometheus/data"""

_RECORD_EPILOG = """FILE has the raw counters of every interval, who the VMs are, what the host is,
and which probes are attached; a day of 512 busy vCPUs at 1 s is 2 GB. It can be read while it is
written, and whatever ends the recording, up to ten seconds before that. Ctrl-C and SIGTERM end it
with status 0.

Beside a running `lpttrace serve` it reads what that has attached. COMMAND starts when everything
is attached, its stdout goes to stderr, and recording ends with it and with its status.

TIME is 500ms, 1s, 10m, 24h or 7d; SIZE is 500M or 2G. With --max-size or --keep there are several
files, named by their time, such as host-20261125T101500Z.lpt for host.lpt: each an eighth of what
may stay, and the oldest, also of runs before, are deleted. With --ring nothing is written until
SIGUSR1 comes: then the last TIME, to a file named in the same way.

\b
Examples:
  lpttrace record -o before.lpt --duration 10m
  lpttrace record -o run.lpt -- ./workload
  lpttrace record -o /var/lib/lpttrace/host.lpt --max-size 2G --keep 7d
  lpttrace record -o /var/lib/lpttrace/host.lpt --ring 1h
  kill -USR1 PID                   write what --ring has kept"""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog=_RECORD_EPILOG, context_settings={"allow_interspersed_args": False})(record)
    app.command(epilog=_REPLAY_EPILOG)(replay)
    app.command(epilog=_EXPORT_EPILOG)(export)


_RING = typer.Option(
    "", "--ring", metavar="TIME", help="Keep the last TIME in memory, and write it on SIGUSR1."
)


def record(
    command: Optional[list[str]] = typer.Argument(
        None, metavar="-- COMMAND", help="Run this, and record what it does."
    ),
    output: str = typer.Option(..., "--output", "-o", metavar="FILE", help="Where to."),
    interval: str = typer.Option("1s", "--interval", metavar="TIME", help="Between two frames."),
    duration: str = typer.Option("", "--duration", metavar="TIME", help="End after that."),
    max_size: str = typer.Option(
        "", "--max-size", metavar="SIZE", help="Keep at most SIZE, in several files."
    ),
    keep: str = typer.Option(
        "", "--keep", metavar="TIME", help="Keep nothing older than TIME, in several files."
    ),
    ring: str = _RING,
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace FILE if it exists."),
    max_vcpus: int = MAX_VCPUS,
    lpt_symbol: str = LPT_SYMBOL_OPTION,
    synthetic: str = SYNTHETIC,
    pin_dir: str = PIN_DIR_OF_AGENT,
    own: bool = OWN,
) -> None:
    """Record raw counters to a file, to look at later or to compare."""

    def body() -> int:
        from lpttrace import cli_record
        from lpttrace.cli_source import SourceOptions
        from lpttrace.quantity import bytes_of, ns_of
        from lpttrace.recording_files import Limits

        if ring and (max_size or keep):
            raise UsageError("cannot use --ring with --max-size or --keep: it keeps no files")
        limits = Limits(
            bytes_of(max_size, "--max-size", 2**20) if max_size else None,
            ns_of(keep, "--keep", 60) if keep else None,
        )
        return cli_record.record(
            SourceOptions(max_vcpus, lpt_symbol, synthetic, pin_dir, own),
            cli_record.RecordOptions(
                Path(output),
                ns_of(interval, "--interval"),
                ns_of(duration, "--duration") if duration else None,
                limits,
                ns_of(ring, "--ring", 10) if ring else None,
                overwrite,
            ),
            command or (),
        )

    raise typer.Exit(guarded(body))


_FILES = typer.Argument(
    ...,
    metavar="FILE...",
    help="What `record` has written: a file, or several or a directory as one.",
)
_FROM = typer.Option("", "--from", metavar="MOMENT", help="Begin there.")
_UNTIL = typer.Option("", "--until", metavar="MOMENT", help="End there.")


def replay(
    files: list[str] = _FILES,
    once: bool = typer.Option(False, "--once", help="One frame, about all of it."),
    batch: bool = BATCH,
    as_json: bool = AS_JSON,
    begin: str = _FROM,
    end: str = _UNTIL,
    interval: str = typer.Option(
        "", "--interval", metavar="TIME", help="At least that between frames of --batch, --json."
    ),
    speed: float = typer.Option(
        1.0, "--speed", metavar="X", min=0.01, max=10_000, help="Times as fast as recorded."
    ),
    count: int = COUNT,
    sort: str = SORT,
    pattern: str = PATTERN,
    vcpus: bool = VCPUS,
    classes: bool = CLASSES,
    events: bool = EVENTS,
) -> None:
    """Show a recording as `lpttrace top` shows a host."""

    def body() -> int:
        from lpttrace import cli_replay
        from lpttrace.cli_run import TopOptions
        from lpttrace.quantity import ns_of

        check_sort(sort)
        return cli_replay.replay(
            files,
            cli_replay.Window(begin, end),
            TopOptions(once, batch, as_json, 1.0, count, sort, pattern, vcpus, classes, events),
            ns_of(interval, "--interval") if interval else 0,
            speed,
        )

    raise typer.Exit(guarded(body))


def export(
    files: list[str] = _FILES,
    form: str = typer.Option(
        ..., "--to", metavar="FORMAT", help="csv, json, parquet or openmetrics."
    ),
    output: str = typer.Option("", "--output", "-o", metavar="FILE", help="Where to, not stdout."),
    begin: str = _FROM,
    end: str = _UNTIL,
    interval: str = typer.Option(
        "", "--interval", metavar="TIME", help="At least that between frames."
    ),
    per_vcpu: bool = PER_VCPU,
    patterns: list[str] = PATTERNS,
    not_patterns: list[str] = NOT_PATTERNS,
    labels: list[str] = typer.Option(
        [], "--label", metavar="NAME=VALUE", help="Add it to all series; may be repeated."
    ),
) -> None:
    """Write a recording for other tools."""

    def body() -> int:
        from lpttrace import cli_export
        from lpttrace.cli_replay import Window
        from lpttrace.exporter_view import View
        from lpttrace.quantity import ns_of

        return cli_export.export(
            files,
            cli_export.ExportOptions(
                form,
                output,
                Window(begin, end),
                ns_of(interval, "--interval") if interval else 0,
                View(per_vcpu, tuple(patterns), tuple(not_patterns)),
                tuple(labels),
            ),
        )

    raise typer.Exit(guarded(body))
