# SPDX-License-Identifier: GPL-2.0-only
"""The command's entry point: quick to import, and quiet when interrupted from the first moment."""

from __future__ import annotations

import os
import sys

try:
    import signal
except KeyboardInterrupt:
    raise SystemExit(130) from None

__all__ = ["OPTIONS", "main"]

OPTIONS = "LPTTRACE_SERVE_OPTIONS"
"""Environment variable with the parsed options of an agent: see cli_agent."""


def main() -> None:
    """Run the command line and end the process with its status."""
    try:
        # Until something is attached there is nothing to undo: Ctrl-C just ends the process, not
        # with a traceback out of some half-done import. What our parent ignores stays ignored.
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            # Blocked meanwhile: Python forgets a signal that comes while its handler changes.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(_flush(_run()))


def _run() -> int:
    options = os.environ.pop(OPTIONS, None)
    if options is not None:
        from lpttrace.cli_agent import run_agent

        return run_agent(options)
    from lpttrace.cli_app import run

    return run(sys.argv[1:])


def _flush(status: int) -> int:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # What is left in the buffer has no reader; the interpreter must not try again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return status or 128 + signal.SIGPIPE
    return status
