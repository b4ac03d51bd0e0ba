# SPDX-License-Identifier: GPL-2.0-only
"""What the BPF programs cost, counted by the kernel: only while somebody asked for it."""

from __future__ import annotations

import os
from collections.abc import Mapping

from lpttrace.objects import program_runs, start_run_statistics
from lpttrace.snapshot_upkeep import ProgramRuns

__all__ = ["ProgramClock"]


class ProgramClock:
    """Has the kernel time programs, given by name and descriptor, until it is closed.

    The switch is the whole host's: every BPF program of it takes two readings of the clock more a
    run. So it is held by a descriptor, which no end of this process leaves behind, and not by the
    sysctl kernel.bpf_stats_enabled.
    """

    def __init__(self, programs: Mapping[str, int]) -> None:
        """Begin. LpttraceError if the kernel refuses."""
        self._programs = dict(programs)
        self._fd = start_run_statistics()

    def read(self) -> tuple[ProgramRuns, ...]:
        """Of each program, in the order given."""
        return tuple(ProgramRuns(name, *program_runs(fd)) for name, fd in self._programs.items())

    def close(self) -> None:
        """Let go of the switch; idempotent. It stays on while somebody else holds it."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
