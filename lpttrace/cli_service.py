# SPDX-License-Identifier: GPL-2.0-only
"""The agent as a service: it tells systemd how it is, and reads its configuration again."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Optional

from lpttrace.cli_guard import warn
from lpttrace.cli_source import SourceOptions
from lpttrace.config import CONFIG_FILE, KEYS, ConfigError, is_there, load
from lpttrace.errors import LpttraceError
from lpttrace.exporter_view import EVERYTHING, View
from lpttrace.notify import notify

if TYPE_CHECKING:
    from lpttrace.exporter import MetricsServer, SnapshotCollector

__all__ = ["ServeOptions", "Service", "view_of"]


@dataclass(frozen=True)
class ServeOptions:
    """How `lpttrace serve` serves; given are the keys of config that the command line has said.

    With keep, counting goes on in the kernel after the end, for the next one to take over; but
    not after SIGINT, which is somebody at a terminal who is done.
    """

    listen: str
    source: SourceOptions
    view: View = EVERYTHING
    keep: bool = True
    web_config_file: str = ""
    config_file: str = ""
    given: tuple[str, ...] = ()


def view_of(values: Mapping[str, Any], view: View, given: tuple[str, ...]) -> View:
    """The view that a configuration file asks for; view has what the command line has said."""
    told = {key: values.get(key) for key in KEYS if KEYS[key].reloads and key not in given}
    return View(
        view.per_vcpu if "per-vcpu" in given else told["per-vcpu"] is not False,
        view.vms if "vm" in given else tuple(told["vm"] or ()),
        view.not_vms if "not-vm" in given else tuple(told["not-vm"] or ()),
        view.created if "created" in given else bool(told["created"]),
    )


class Service:
    """Looks at the source, and is told of by systemd if that started it; ends by a signal."""

    def __init__(
        self, options: ServeOptions, collector: SnapshotCollector, server: MetricsServer
    ) -> None:
        self._options = options
        self._server = server
        self._collector = collector
        self._values: Mapping[str, Any] = {}
        self._wanted = False
        self._status = ""
        self._before: Any = None

    def __enter__(self) -> Service:
        if self._options.config_file:
            self._values = load(Path(self._options.config_file))
        # A terminal that hangs up ends what was started on it; a service is told to look again.
        if not sys.stdin.isatty():
            self._before = signal.signal(signal.SIGHUP, self._ask)
        self._tell("READY=1")
        return self

    def __exit__(self, *_: object) -> None:
        notify("STOPPING=1")
        if self._before is not None:
            signal.signal(signal.SIGHUP, self._before)

    def _ask(self, signum: int, frame: Optional[FrameType]) -> None:
        self._wanted = True

    def run(self, seconds: float) -> None:
        """Look every so many seconds, until a signal raises out of it, or nobody answers."""
        while True:
            time.sleep(seconds)
            if not self._server.alive:
                raise LpttraceError(
                    "cannot answer scrapes any more: the thread that does it has failed, as told "
                    "above; please report it, and start again"
                )
            if self._wanted:
                self._wanted = False
                self._reload()
            self._collector.look()
            self._tell("WATCHDOG=1")

    def _tell(self, *what: str) -> None:
        # The status is told when it changes, the rest every time.
        status = self._collector.summary()
        news = [f"STATUS={status}"] if status != self._status else []
        if notify(*what, *news):
            self._status = status

    def _reload(self) -> None:
        notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        # The one without a name may have been made since the start.
        file = Path(self._options.config_file or CONFIG_FILE)
        if self._options.config_file or is_there(file):
            self._apply(file)
        else:
            warn("there is no configuration file to read again")
        self._tell("READY=1")

    def _apply(self, file: Path) -> None:
        try:
            values = load(file)
        except ConfigError as error:
            warn(f"{error}; continuing with what was read before")
            return
        waiting = [
            key
            for key in KEYS
            if not KEYS[key].reloads
            and key not in self._options.given
            and values.get(key) != self._values.get(key)
        ]
        if waiting:
            warn(f"{file}: {', '.join(waiting)}: takes effect with a restart")
        view = view_of(values, self._options.view, self._options.given)
        self._collector.show(view)
        self._values = values
        self._options = replace(self._options, view=view, config_file=str(file))
        print(f"read {file} again", file=sys.stderr, flush=True)
