# SPDX-License-Identifier: GPL-2.0-only
"""What `lpttrace serve` and `lpttrace unload` do, once their options are known."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Optional

from lpttrace.cli_guard import Interrupted, warn
from lpttrace.cli_service import ServeOptions, Service
from lpttrace.cli_source import Feed, feed_of, live_options, telling
from lpttrace.config import load, place_of
from lpttrace.errors import LpttraceError
from lpttrace.privileges import drop_privileges

if TYPE_CHECKING:
    from lpttrace.keep import Keeper
    from lpttrace.web_settings import Settings

__all__ = ["ServeOptions", "serve", "unload"]

# Between scrapes: a VM may come and go between two, and keeps its slots until it is read.
_LOOK_SECONDS = 1.0


def serve(options: ServeOptions) -> int:
    """Serve metrics until SIGINT or SIGTERM, which end it well."""
    source = options.source
    if source.synthetic or source.replay or not options.keep:
        return _serve(options, feed_of(replace(source, own=True)), None)
    from lpttrace.guests import Guests
    from lpttrace.keep import Keeper
    from lpttrace.live import LiveSource

    with Keeper(Path(source.pin_dir), source.max_vcpus, source.lpt_symbol) as keeper:
        live = LiveSource(live_options(source), keeper)
        return _serve(options, Feed(live, Guests().identify, "live"), keeper)


def _serve(options: ServeOptions, feed: Feed, keeper: Optional[Keeper]) -> int:
    from lpttrace.exporter import MetricsServer, SnapshotCollector

    with _told_of(options, "web-config-file"):
        settings = _settings(options.web_config_file)
    read = telling(feed.source.read, warn)
    collector = SnapshotCollector(
        read, feed.identify, feed.kind, feed.unix_time, options.view, feed.release
    )
    with _told_of(options, "listen"):
        server = MetricsServer(options.listen, collector, settings)
    try:
        with feed.source:
            for text in feed.source.warnings:
                warn(text)
            _give_up_privileges()
            with server, Service(options, collector, server) as service:
                print(f"listening on {server.url}", file=sys.stderr, flush=True)
                service.run(_LOOK_SECONDS)
    except Interrupted as interruption:
        if keeper is not None:
            _end(keeper, interruption.signum)
        if interruption.signum == signal.SIGHUP:
            raise
        return 0
    finally:
        server.close()
    return 0


@contextmanager
def _told_of(options: ServeOptions, key: str) -> Iterator[None]:
    # What the key of the configuration file leads to is told with its place.
    try:
        yield
    except LpttraceError as error:
        file = options.config_file
        if not file or key in options.given or key not in load(Path(file)):
            raise
        raise type(error)(f"{place_of(Path(file), key)}: {error}") from error


def _give_up_privileges() -> None:
    # Whoever reaches us by HTTP, or by a name, gets no more than reading needs.
    try:
        drop_privileges()
    except OSError as error:
        warn(f"cannot give up privileges: {error.strerror}; continuing with all of them")


def _settings(web_config_file: str) -> Callable[[], Settings]:
    from lpttrace.web_settings import always_open

    if not web_config_file:
        return always_open
    from lpttrace.web_policy import Policy

    return Policy(web_config_file, warn)


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
