# SPDX-License-Identifier: GPL-2.0-only
"""What `lpttrace report` and `lpttrace diff` do."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

from lpttrace.blocks import Blocks, Group, reduce
from lpttrace.cli_output import replacing
from lpttrace.diff import Compared, compare
from lpttrace.diff_json import encode
from lpttrace.diff_page import page as diff_page
from lpttrace.diff_text import text as diff_text
from lpttrace.diff_types import Options
from lpttrace.diff_windows import parse_window
from lpttrace.errors import LpttraceError
from lpttrace.model import Guest
from lpttrace.model_order import matcher
from lpttrace.recording_types import Frames
from lpttrace.report import by_label, report_of
from lpttrace.report_page import page as report_page
from lpttrace.report_text import text as report_text

__all__ = ["FAILED", "DiffOptions", "Opener", "diff", "group_of", "report"]

FAILED = 7
"""The exit status if --fail-on found what it names."""

Opener = Callable[[Sequence[str]], AbstractContextManager[Frames]]
"""Several files are one recording."""


@dataclass(frozen=True)
class DiffOptions:
    """As they are on the command line; threshold is a percentage."""

    before: Sequence[str]
    after: Sequence[str]
    before_window: str = ""
    after_window: str = ""
    vms: Sequence[str] = ()
    together: Sequence[str] = ()
    threshold: float = 5.0
    alpha: float = 0.01
    fail_on: Sequence[str] = ()
    everything: bool = False
    as_json: bool = False
    html: str = ""


def _open(paths: Sequence[str]) -> AbstractContextManager[Frames]:
    # The reader's libraries are not needed by anything else here.
    from lpttrace.recording_set import open_recordings

    return open_recordings(paths)


def report(paths: Sequence[str], html: str = "", opener: Opener = _open) -> int:
    """Text on stdout, or a page in a file."""
    found = report_of(_reduced(paths, opener, by_label))
    if html:
        _write(html, report_page(found), paths)
    else:
        sys.stdout.write(report_text(found))
    return 0


def diff(options: DiffOptions, opener: Opener = _open) -> int:
    """FAILED if there is a verdict that the options name, or none because nothing is the same."""
    found = _compared(options, opener)
    if options.html:
        _write(options.html, diff_page(found), [*options.before, *options.after])
    if options.as_json:
        sys.stdout.write(encode(found.difference) + "\n")
    elif not options.html:
        sys.stdout.write(diff_text(found.difference, options.everything))
    wanted = {verdict.replace("-", " ") for verdict in options.fail_on}
    if wanted and not found.difference.loads:
        print("lpttrace: nothing was compared: no VM is on both sides", file=sys.stderr)
        return FAILED
    failed = any(row.verdict in wanted for row in found.difference.rows)
    return FAILED if failed else 0


def _compared(options: DiffOptions, opener: Opener) -> Compared:
    group = group_of(options.vms, options.together)
    before = [_reduced(run, opener, group, options.before_window) for run in _runs(options.before)]
    after = [_reduced(run, opener, group, options.after_window) for run in _runs(options.after)]
    if options.vms and not any(run.vcpus for run in (*before, *after)):
        where = ", ".join(dict.fromkeys((*options.before, *options.after)))
        raise LpttraceError(
            f"cannot compare {where}: no VM in them matches {', '.join(options.vms)}; "
            "lpttrace report has their names"
        )
    judging = Options(options.alpha, options.threshold / 100)
    return compare(before, after, judging)


def _runs(paths: Sequence[str]) -> list[list[str]]:
    """The files of each run; of a directory, all that are in it."""
    found: list[list[str]] = []
    for path in paths:
        found += _runs_in(Path(path)) if Path(path).is_dir() else [[path]]
    return found


def _runs_in(directory: Path) -> list[list[str]]:
    from lpttrace.recording_set import recordings_in, runs_of

    return runs_of(recordings_in(directory))


def group_of(vms: Sequence[str], together: Sequence[str]) -> Group:
    """VMs by name; those that match one of together are one, and others than vms are left out."""
    wanted = [matcher(pattern) for pattern in vms]
    joined = [(pattern, matcher(pattern)) for pattern in together]

    def group(guest: Guest) -> Optional[str]:
        if wanted and not any(matches(guest) for matches in wanted):
            return None
        return next((pattern for pattern, matches in joined if matches(guest)), _name(guest))

    return group


def _name(guest: Guest) -> str:
    # A VM without a name is called by its pid, which is another one in every run.
    return guest.name.removesuffix(f"[{guest.pid}]")


def _reduced(paths: Sequence[str], opener: Opener, group: Group, window: str = "") -> Blocks:
    path = f"{paths[0]} and {len(paths) - 1} more" if len(paths) > 1 else paths[0]
    with opener(paths) as recording:
        limits = parse_window(window, _begin(recording, path)) if window else None
        blocks = reduce(recording, group, limits)
    if blocks is None:
        where = f" in {window}" if window else ""
        raise LpttraceError(
            f"cannot analyse {path}: fewer than two frames{where}; record for longer"
        )
    return blocks


def _begin(recording: Frames, path: str) -> int:
    for frame in recording.frames():
        return frame.unix_ns
    raise LpttraceError(f"cannot analyse {path}: there is no frame in it")


def _write(path: str, page: str, read: Sequence[str]) -> None:
    with replacing(path, read) as file:
        file.write_text(page, encoding="utf-8")
    print(f"written: {path}", file=sys.stderr)
