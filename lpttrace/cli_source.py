# SPDX-License-Identifier: GPL-2.0-only
"""Where the numbers of a command come from. Edges are imported where they are needed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Optional, Protocol

from lpttrace.errors import LpttraceError, UsageError
from lpttrace.model import Guest, shortages
from lpttrace.snapshot import Snapshot, Source, VmKey

if TYPE_CHECKING:
    from lpttrace.live import LiveOptions

__all__ = ["Feed", "SourceOptions", "WarningSource", "feed_of", "live_options", "telling"]


@dataclass(frozen=True)
class SourceOptions:
    """Where the numbers come from; synthetic is VMSxVCPUS or empty.

    pin_dir is where programs are kept, or are to be found; own attaches all the same. With
    bpf_stats the kernel times BPF programs meanwhile. replay is a recording's file or empty.
    """

    max_vcpus: int
    lpt_symbol: str
    synthetic: str
    pin_dir: str = ""
    own: bool = False
    bpf_stats: bool = False
    replay: str = ""


class WarningSource(Source, Protocol):
    """A source that says what is not to be seen, once it is entered."""

    @property
    def warnings(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class Feed:
    """A source, who its VMs are, and what kind it is: live, synthetic or replay.

    release is the kernel's that was counted on, None if that is the running one; unix_time says
    when what was read last was counted.
    """

    source: WarningSource
    identify: Callable[[Snapshot], Mapping[VmKey, Guest]]
    kind: str
    release: Optional[str] = None
    unix_time: Callable[[], float] = time.time


def feed_of(options: SourceOptions) -> Feed:
    """Of the source that the options ask for."""
    made_up = "--synthetic" if options.synthetic else "--replay" if options.replay else ""
    if made_up and options.bpf_stats:
        raise UsageError(f"cannot time BPF programs: {made_up} runs none; drop --bpf-stats")
    if options.synthetic:
        if options.replay:
            raise UsageError("cannot both make up numbers and replay them; say one of the two")
        from lpttrace.synthetic import SyntheticSource, identify, parse_size

        return Feed(SyntheticSource(*parse_size(options.synthetic)), identify, "synthetic")
    if options.replay:
        return _replay(options)
    from lpttrace.guests import Guests
    from lpttrace.live import LiveSource

    beside = None if options.own else _beside(options)
    return Feed(beside or LiveSource(live_options(options)), Guests().identify, "live")


def _replay(options: SourceOptions) -> Feed:
    from lpttrace.recording_replay import ReplaySource
    from lpttrace.recording_set import open_recordings

    source = ReplaySource(open_recordings([options.replay]))
    release = source.recording.host.kernel
    return Feed(source, source.identify, "replay", release, source.unix_time)


def live_options(options: SourceOptions) -> LiveOptions:
    """What the kernel side needs of them."""
    from lpttrace.live import LiveOptions

    return LiveOptions(options.max_vcpus, options.lpt_symbol, bpf_stats=options.bpf_stats)


def _beside(options: SourceOptions) -> Optional[WarningSource]:
    # None if no agent runs, or has left anything, that we can read.
    from lpttrace.live_beside import BesideSource

    try:
        return BesideSource(live_options(options), Path(options.pin_dir))
    except LpttraceError:
        return None


def telling(read: Callable[[], Snapshot], say: Callable[[str], None]) -> Callable[[], Snapshot]:
    """The same reading, which says once when something begins not to be counted."""
    told: set[str] = set()

    def reading() -> Snapshot:
        snapshot = read()
        for loss, text in shortages(snapshot.losses).items():
            if loss not in told:
                say(text)
            told.add(loss)
        return snapshot

    return reading
