# SPDX-License-Identifier: GPL-2.0-only
"""What the commands do, once their options are known. Edges are imported where they are needed."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Optional, Protocol

from lpttrace.cli_command import Command
from lpttrace.cli_guard import Interrupted, warn
from lpttrace.errors import LpttraceError
from lpttrace.model import Guest, Model, shortages
from lpttrace.model_order import arrange
from lpttrace.model_sampler import Sampler
from lpttrace.snapshot import Snapshot, Source, VmKey

if TYPE_CHECKING:
    from lpttrace.keep import Keeper
    from lpttrace.live import LiveOptions

__all__ = ["SourceOptions", "TopOptions", "serve", "top", "unload"]

# While COMMAND runs: how often to look which processes are VMs, before they are gone.
_LOOK_SECONDS = 0.25
# Between scrapes: a VM may come and go between two, and keeps its slots until it is read.
_SERVE_LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class SourceOptions:
    """Where the numbers come from; synthetic is VMSxVCPUS or empty.

    pin_dir is where programs are kept, or are to be found; own attaches all the same.
    """

    max_vcpus: int
    lpt_symbol: str
    synthetic: str
    pin_dir: str = ""
    own: bool = False


@dataclass(frozen=True)
class TopOptions:
    """How `lpttrace top` shows them; count is 0 for no end."""

    once: bool = False
    batch: bool = False
    as_json: bool = False
    interval: float = 1.0
    count: int = 0
    sort: str = "vm"
    pattern: str = ""
    vcpus: bool = False
    classes: bool = False
    events: bool = False


class _Source(Source, Protocol):
    @property
    def warnings(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class _Feed:
    source: _Source
    identify: Callable[[Snapshot], Mapping[VmKey, Guest]]
    kind: str


def _feed(options: SourceOptions) -> _Feed:
    if options.synthetic:
        from lpttrace.synthetic import SyntheticSource, identify, parse_size

        return _Feed(SyntheticSource(*parse_size(options.synthetic)), identify, "synthetic")
    from lpttrace.guests import Guests
    from lpttrace.live import LiveSource

    beside = None if options.own else _beside(options)
    return _Feed(beside or LiveSource(_live(options)), Guests().identify, "live")


def _live(options: SourceOptions) -> LiveOptions:
    from lpttrace.live import LiveOptions

    return LiveOptions(max_vcpus=options.max_vcpus, lpt_symbol=options.lpt_symbol)


def _beside(options: SourceOptions) -> Optional[_Source]:
    # None if no agent runs, or has left anything, that we can read.
    from lpttrace.live_beside import BesideSource

    try:
        return BesideSource(_live(options), Path(options.pin_dir))
    except LpttraceError:
        return None


def top(source: SourceOptions, options: TopOptions, argv: Sequence[str]) -> int:
    """Full screen on a terminal, else frames on stdout."""
    feed = _feed(source)
    screen = _on_a_terminal() and not (
        options.once or options.batch or options.as_json or options.count
    )
    if not argv:
        return _screen(feed, options, None) if screen else _frames(feed, options, None)
    with Command(argv, capture=screen) as command:
        return (_screen if screen else _frames)(feed, options, command)


def _on_a_terminal() -> bool:
    terminals = sys.stdin.isatty() and sys.stdout.isatty()
    return terminals and os.environ.get("TERM", "dumb") not in ("", "dumb")


def _screen(feed: _Feed, options: TopOptions, command: Optional[Command]) -> int:
    from lpttrace.top import View, run

    view = View(options.interval, options.sort, options.pattern, feed.kind)
    return run(feed.source, feed.identify, view, command)


def _telling(read: Callable[[], Snapshot], say: Callable[[str], None]) -> Callable[[], Snapshot]:
    # The counts are in every frame and scrape; said is it once, when it begins.
    told: set[str] = set()

    def reading() -> Snapshot:
        snapshot = read()
        for loss, text in shortages(snapshot.losses).items():
            if loss not in told:
                say(text)
            told.add(loss)
        return snapshot

    return reading


def _frames(feed: _Feed, options: TopOptions, command: Optional[Command]) -> int:
    with feed.source as source:
        for text in feed.source.warnings:
            warn(text)
        read = _telling(source.read, warn)
        sampler = Sampler(read, feed.identify, keep=command is not None)
        sampler.next()
        if command is not None:
            command.start()
        return _loop(sampler, _Printer(feed.kind, options), options, command)


def _loop(sampler: Sampler, show: _Printer, options: TopOptions, command: Optional[Command]) -> int:
    frames = 1 if options.once else options.count
    shown, due = 0, time.monotonic()
    while True:
        # After a stop, go on from now: frames are not made up for.
        due = max(due + options.interval, time.monotonic())
        ended = _wait_until(due, sampler, command)
        if command and options.once and not ended:
            sampler.peek()
            continue
        show(sampler.next())
        shown += 1
        if ended and command:
            return command.status or 0
        if shown == frames:
            return 0


def _wait_until(due: float, sampler: Sampler, command: Optional[Command]) -> bool:
    # True when the command ended before that.
    if command is None:
        time.sleep(max(0.0, due - time.monotonic()))
        return False
    while True:
        left = due - time.monotonic()
        if command.wait(max(0.0, min(left, _LOOK_SECONDS))):
            return True
        if left <= _LOOK_SECONDS:
            return False
        sampler.peek()


class _Printer:
    """Writes frames to stdout, each as a whole."""

    def __init__(self, kind: str, options: TopOptions) -> None:
        self._kind = kind
        self._options = options
        self._first = True

    def __call__(self, model: Model) -> None:
        vms = arrange(model.vms, self._options.sort, self._options.pattern)
        now = datetime.now(timezone.utc)
        synthetic = self._kind == "synthetic"
        if self._options.as_json:
            from lpttrace import frame_json

            text = frame_json.encode(model, vms, now, synthetic) + "\n"
        else:
            from lpttrace import frame_text

            title = "synthetic" if synthetic else ""
            level = (self._options.vcpus, self._options.classes)
            layout = frame_text.TextOptions(*level, _columns(), title, self._options.events)
            gap = "" if self._first else "\n"
            text = gap + frame_text.frame(model, vms, now, layout)
        self._first = False
        sys.stdout.write(text)
        sys.stdout.flush()


def _columns() -> int:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 80


def serve(listen: str, source: SourceOptions, keep: bool = True) -> int:
    """Serve metrics until SIGINT or SIGTERM, which end it well.

    With keep, counting goes on in the kernel after the end, for the next one to take over; but
    not after SIGINT, which is somebody at a terminal who is done.
    """
    if source.synthetic or not keep:
        return _serve(listen, _feed(replace(source, own=True)), None)
    from lpttrace.guests import Guests
    from lpttrace.keep import Keeper
    from lpttrace.live import LiveSource

    with Keeper(Path(source.pin_dir), source.max_vcpus, source.lpt_symbol) as keeper:
        live = LiveSource(_live(source), keeper)
        return _serve(listen, _Feed(live, Guests().identify, "live"), keeper)


def _serve(listen: str, feed: _Feed, keeper: Optional[Keeper]) -> int:
    from lpttrace.exporter import MetricsServer, SnapshotCollector

    read = _telling(feed.source.read, warn)
    collector = SnapshotCollector(read, feed.identify, feed.kind)
    server = MetricsServer(listen, collector)
    try:
        with feed.source:
            for text in feed.source.warnings:
                warn(text)
            with server:
                print(f"listening on {server.url}", file=sys.stderr, flush=True)
                while True:
                    time.sleep(_SERVE_LOOK_SECONDS)
                    collector.look()
    except Interrupted as interruption:
        if keeper is not None:
            _end(keeper, interruption.signum)
        if interruption.signum == signal.SIGHUP:
            raise
        return 0
    finally:
        server.close()


def _end(keeper: Keeper, signum: int) -> None:
    if signum == signal.SIGINT:
        keeper.discard()
    elif keeper.keeps:
        print("counting goes on in the kernel; 'lpttrace unload' ends it", file=sys.stderr)


def unload(pin_dir: str) -> int:
    """Remove what agents have left in the kernel; LpttraceError while one is running."""
    from lpttrace.keep import Keeper

    root = Path(pin_dir)
    with Keeper(root) as keeper:
        if keeper.problem and root.exists():
            raise LpttraceError(f"cannot unload what is under {root}: {keeper.problem}")
        removed = keeper.discard()
    print(f"removed {removed} pins under {root}" if removed else f"nothing is kept under {root}")
    return 0
