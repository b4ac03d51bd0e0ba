# SPDX-License-Identifier: GPL-2.0-only
"""The command line of `lpttrace report` and `lpttrace diff`."""

from __future__ import annotations

import typer

from lpttrace.cli_guard import guarded
from lpttrace.errors import UsageError

__all__ = ["register"]

_REPORT_EPILOG = """Both need the extra lpttrace[analysis]. The page is one file, with everything in
it.

\b
Examples:
  lpttrace report monday.lpt
  lpttrace report monday.lpt --html monday.html"""

_DIFF_EPILOG = """BEFORE and AFTER are recordings, or directories of recordings of several runs
each; then what differs from run to run counts as noise. Files that `record` made with --max-size or
--keep are one run as long as one goes on where another ended. With windows, one recording will do.
FROM and TO are times of day (UTC), +90s, +5m or +1h from the recording's begin, or dates with time.

A row is regressed or improved if its change is at least the threshold, and would come about by
accident with at most the chance alpha in all of the comparison. docs/diff.md explains the method.
It ends with status 7 if --fail-on names the verdict of any row, or no VM is on both sides.

\b
Examples:
  lpttrace diff 6.1.lpt 6.12.lpt
  lpttrace diff 6.1/ 6.12/ --html diff.html            several runs of each
  lpttrace diff day.lpt --before 10:00..10:05 --after 10:20..10:25
  lpttrace diff old.lpt new.lpt --fail-on regressed    for CI
  lpttrace diff old.lpt new.lpt --together 'web-*'     many VMs as one"""

_HTML = typer.Option("", "--html", metavar="FILE", help="Write a page that needs nothing else.")
_FAIL_ON = ("regressed", "improved", "cannot-tell")


def register(app: typer.Typer) -> None:
    """Add both commands."""
    app.command(epilog=_REPORT_EPILOG)(report)
    app.command(epilog=_DIFF_EPILOG)(diff)


def report(
    files: list[str] = typer.Argument(..., metavar="FILE...", help="Several are one recording."),
    html: str = _HTML,
) -> None:
    """Say what a recording shows: what ran, what it cost, and what could not be seen."""

    def body() -> int:
        from lpttrace.analysis import need

        need()
        from lpttrace import cli_diff

        return cli_diff.report(files, html)

    raise typer.Exit(guarded(body))


def diff(
    before: str = typer.Argument(..., metavar="BEFORE"),
    after: str = typer.Argument("", metavar="[AFTER]", show_default=False),
    before_window: str = typer.Option(
        "", "--before", metavar="FROM..TO", help="Only this part of BEFORE."
    ),
    after_window: str = typer.Option(
        "", "--after", metavar="FROM..TO", help="Only this part of AFTER (of BEFORE, if alone)."
    ),
    vms: list[str] = typer.Option(
        [], "--vm", metavar="PATTERN", help="Only VMs that match this, or another --vm."
    ),
    together: list[str] = typer.Option(
        [], "--together", metavar="PATTERN", help="Take VMs that match as one; may be repeated."
    ),
    threshold: float = typer.Option(
        5.0, "--threshold", metavar="PERCENT", min=0, max=1000, help="Changes below it are none."
    ),
    alpha: float = typer.Option(
        0.01, "--alpha", metavar="CHANCE", min=1e-9, max=0.5, help="Of any false alarm."
    ),
    fail_on: list[str] = typer.Option(
        [], "--fail-on", metavar="VERDICT", help="regressed, improved or cannot-tell."
    ),
    everything: bool = typer.Option(False, "--all", help="Also what did not change."),
    as_json: bool = typer.Option(False, "--json", help="As one JSON document."),
    html: str = _HTML,
) -> None:
    """Say what changed between recordings, ranked by what it costs guests."""

    def body() -> int:
        unknown = [verdict for verdict in fail_on if verdict not in _FAIL_ON]
        if unknown:
            raise UsageError(f"cannot fail on {unknown[0]!r}; say one of {', '.join(_FAIL_ON)}")
        if not after and not (before_window and after_window):
            raise UsageError("nothing to compare with: say AFTER, or --before and --after")
        from lpttrace.analysis import need

        need()
        from lpttrace import cli_diff

        which = [before], [after or before], before_window, after_window, vms, together
        how = threshold, alpha, fail_on, everything, as_json, html
        return cli_diff.diff(cli_diff.DiffOptions(*which, *how))

    raise typer.Exit(guarded(body))
