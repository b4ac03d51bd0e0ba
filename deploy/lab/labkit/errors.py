# SPDX-License-Identifier: GPL-2.0-only
"""What can go wrong, and the exit status each gives.

LabError            the lab cannot do what was asked (exit status 123)
`-- LostMachine     the machine ended without a status of COMMAND (exit status 125)
"""

from __future__ import annotations


class LabError(Exception):
    """One line: what, which object, why, what to do."""

    status = 123


class LostMachine(LabError):
    """The machine died, panicked or ran out of time; `console` is the end of its console log."""

    status = 125

    def __init__(self, message: str, console: str) -> None:
        super().__init__(message)
        self.console = console
