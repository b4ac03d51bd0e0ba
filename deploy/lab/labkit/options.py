# SPDX-License-Identifier: GPL-2.0-only
"""The command line's words."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from labkit import kernels, qemu

TIMEOUT_SECONDS = 600.0
EPILOG = """\
exit status of `lab run`: COMMAND's own, 128 + N if signal N ended it; 125 if the machine was lost
(it died, panicked or ran out of time); 123 if the lab could not do it; 2 for a wrong option

examples:
  sudo lab setup                                  install what the lab needs, once
  lab run -- lpttrace doctor                      one command on the patched host
  lab run --kernel stock-6.1 --mode vhe -- uname -a
  lab run --cntfrq 25000000 -- sh -c 'labvmm --help; dmesg | tail'
  lab run --add ./probe.py:/tmp/ --timeout 60 -- python3 /tmp/probe.py
  lab shell --smp 4                               a shell; Ctrl-] three times ends the machine
"""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options; `run`'s COMMAND, all that is after the first `--`, is in `command`."""
    words = list(argv)
    split = words.index("--") if "--" in words else len(words)
    parser = _parser()
    options = parser.parse_args(words[:split])
    command = words[split + 1 :]
    if options.verb == "run" and not command:
        parser.error("run: COMMAND is missing; it goes after `--`: lab run -- COMMAND...")
    if options.verb != "run" and split < len(words):
        parser.error(f"{options.verb}: takes no COMMAND")
    options.command = command
    return options


def _parser() -> argparse.ArgumentParser:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="lab",
        description="Runs commands on a patched arm64 KVM host, emulated on this machine.",
        epilog=EPILOG,
        formatter_class=formatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    run = verbs.add_parser(
        "run",
        help="run a command in the machine",
        usage="lab run [OPTION]... -- COMMAND...",
        epilog=EPILOG,
        formatter_class=formatter,
    )
    _machine_options(run, f"{TIMEOUT_SECONDS:g}, none on a terminal")
    shell = verbs.add_parser("shell", help="an interactive shell in the machine")
    _machine_options(shell, "none")
    verbs.add_parser("list", help="the kernels, what each promises, what is built")
    build = verbs.add_parser("build", help="build kernels, the root file system and the workload")
    build.add_argument("names", nargs="*", metavar="KERNEL", help="default: all kernels")
    verbs.add_parser("packages", help="print the Debian packages that are missing")
    setup = verbs.add_parser("setup", help="install the Debian packages that are missing, as root")
    setup.add_argument("also", nargs="*", metavar="PACKAGE", help="more packages to install")
    return parser


def _machine_options(parser: argparse.ArgumentParser, timeout: str) -> None:
    add = parser.add_argument
    add("--kernel", default=kernels.DEFAULT, metavar="NAME", help="default: %(default)s")
    add("--image", type=Path, metavar="PATH", help="boot this kernel image instead")
    add("--mode", choices=qemu.CPUS, default="nvhe", help="how KVM runs; default: %(default)s")
    add("--cntfrq", type=_positive, metavar="HZ", help="the host's counter frequency")
    add("--smp", type=_positive, default=2, metavar="N", help="CPUs; default: %(default)s")
    add("--icount", action="store_true", help="time is instructions x 2 ns, and repeats")
    add(
        "--add",
        action="append",
        default=[],
        metavar="HOST_PATH:GUEST_PATH",
        help="copy a file or directory into the machine",
    )
    add("--systemd", action="store_true", help="systemd is the machine's first process")
    add("--timeout", type=_positive_seconds, metavar="S", help=f"default: {timeout}")
    add("--append", default="", metavar="KERNEL_ARGS", help="more arguments for the host's kernel")
    add("--console", type=Path, metavar="PATH", help="keep the kernel's console log here")
    add("--verbose", action="store_true", help="tell how long the machine took to boot")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _positive_seconds(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError(text)
    return number


# argparse names a type by this in its message for a value it does not take.
_positive.__name__ = "positive number"
_positive_seconds.__name__ = "number of seconds"
