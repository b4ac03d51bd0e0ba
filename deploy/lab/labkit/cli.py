# SPDX-License-Identifier: GPL-2.0-only
"""The command line: says what was asked for, tells what came of it."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from labkit import host, kernel_build, kernels, options, terminal
from labkit.cache import Cache, default_root
from labkit.emulator import tail
from labkit.errors import LabError, LostMachine
from labkit.kernels import Kernel
from labkit.lab import Lab, MachineOptions, Task
from labkit.payload import Addition

PROJECT = Path(__file__).resolve().parents[3]


def main(argv: Sequence[str]) -> int:
    """Runs one `lab` command line and returns its exit status."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    asked = options.parse(argv)
    try:
        return VERBS[asked.verb](Lab(PROJECT, Cache(default_root(os.environ))), asked)
    except LabError as error:
        print(f"lab: error: {error}", file=sys.stderr)
        if isinstance(error, LostMachine):
            print(f"lab: the end of its console:\n{tail(error.console)}", file=sys.stderr, end="")
        return error.status
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # Nobody reads us any more; keep the interpreter from flushing to them at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


def _end(number: int, _frame: FrameType | None) -> None:
    """Ends us by way of every `with` block, so that nothing of ours stays behind."""
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


def _run(lab: Lab, asked: argparse.Namespace) -> int:
    return _run_command(lab, asked, asked.command, terminal.here())


def _shell(lab: Lab, asked: argparse.Namespace) -> int:
    if not terminal.here():
        raise LabError("shell: standard input or output is no terminal; use `lab run -- COMMAND`")
    return _run_command(lab, asked, ["bash"], True)


def _run_command(
    lab: Lab, asked: argparse.Namespace, command: Sequence[str], on_terminal: bool
) -> int:
    default_timeout = None if on_terminal else options.TIMEOUT_SECONDS
    machine = MachineOptions(
        kernel=asked.kernel,
        image=asked.image,
        mode=asked.mode,
        cntfrq=asked.cntfrq,
        smp=asked.smp,
        icount=asked.icount,
        append=asked.append,
    )
    task = Task(
        command=tuple(command),
        additions=tuple(Addition.parse(text) for text in asked.add),
        timeout=asked.timeout or default_timeout,
        on_terminal=on_terminal,
        console=asked.console,
        systemd=asked.systemd,
    )
    outcome = lab.run(machine, task)
    if asked.verbose:
        print(f"lab: COMMAND started after {outcome.boot_seconds:.1f} s", file=sys.stderr)
    return outcome.status


def _list(lab: Lab, _asked: argparse.Namespace) -> int:
    width = max(map(len, lab.kernels))
    print(f"{'KERNEL':<{width}} {'LPT':<4} {'IMAGE':<10} DESCRIPTION")
    for kernel in lab.kernels.values():
        lpt = "yes" if kernel.lpt else "no"
        print(f"{kernel.name:<{width}} {lpt:<4} {_image(lab, kernel):<10} {kernel.description}")
    recipe = lab.rootfs_recipe()
    built = _megabytes(lab.cache.path("rootfs", recipe.key()))
    print(f"\nroot file system: Debian {recipe.release} arm64, {built}")
    print(f"cache: {lab.cache.root}, {_megabytes(lab.cache.root)}; it can be removed at any time")
    return 0


def _image(lab: Lab, kernel: Kernel) -> str:
    if host.missing([*kernels.packages([kernel]), *host.PACKAGES]):
        return "no packages"
    built = kernel_build.entry(lab.cache, kernel)
    return _megabytes(built) if built else "not built"


def _megabytes(path: Path) -> str:
    """What a file or directory takes on disk; `not built` if there is none."""
    if not path.exists():
        return "not built"
    blocks = sum(file.lstat().st_blocks for file in path.rglob("*"))
    return f"{blocks * 512 / 1e6:.0f} MB"


def _build(lab: Lab, asked: argparse.Namespace) -> int:
    lab.require_packages()
    lab.rootfs()
    lab.workload()
    for name in asked.names or lab.kernels:
        lab.kernel(name)
    return 0


def _packages(lab: Lab, _asked: argparse.Namespace) -> int:
    for package in host.missing(lab.packages()):
        print(package)
    return 0


def _setup(lab: Lab, asked: argparse.Namespace) -> int:
    absent = host.missing([*lab.packages(), *asked.also])
    if absent:
        host.install(absent)
    else:
        print("lab: all packages are installed")
    return 0


VERBS = {
    "run": _run,
    "shell": _shell,
    "list": _list,
    "build": _build,
    "packages": _packages,
    "setup": _setup,
}
