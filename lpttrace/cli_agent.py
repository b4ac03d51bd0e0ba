# SPDX-License-Identifier: GPL-2.0-only
"""`lpttrace serve` as it lives for months: without the command line's libraries.

What parses options is a quarter of the memory that serving takes, and is never needed again. So the
process executes itself anew, with the same arguments, and what they mean in its environment.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import asdict

from lpttrace.cli import OPTIONS
from lpttrace.cli_guard import guarded
from lpttrace.cli_serve import ServeOptions, serve
from lpttrace.cli_source import SourceOptions
from lpttrace.exporter_view import View

__all__ = ["become_agent", "run_agent"]


def become_agent(options: ServeOptions) -> int:
    """Never returns: the process is the agent's from here on."""
    told = json.dumps(asdict(options))
    # Ctrl-C waits until cli.main has said what it does, as at the first start.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    os.execve(sys.executable, [sys.executable, *_arguments()], {**os.environ, OPTIONS: told})


def _arguments() -> list[str]:
    # What Python itself was started with; from 3.10 on it tells, options of its own included.
    told: list[str] = getattr(sys, "orig_argv", [])
    if told:
        return told[1:]
    script, *rest = sys.argv
    as_module = os.path.basename(script) == "__main__.py"
    return ["-m", "lpttrace", *rest] if as_module else [script, *rest]


def run_agent(options: str) -> int:
    """Serve as the options say, as become_agent has put them; the exit status."""
    told = json.loads(options)
    view = {**told.pop("view")}
    view.update({name: tuple(view[name]) for name in ("vms", "not_vms")})
    source = SourceOptions(**told.pop("source"))
    told["given"] = tuple(told["given"])
    return guarded(lambda: serve(ServeOptions(source=source, view=View(**view), **told)))
