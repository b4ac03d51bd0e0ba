# SPDX-License-Identifier: GPL-2.0-only
"""What `lab` does, apart from its command line."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from labkit import host, kernel_build, kernels, qemu, rootfs, session, terminal, workload
from labkit.cache import Cache
from labkit.emulator import Emulator
from labkit.errors import LabError
from labkit.payload import Addition, Payload


@dataclass(frozen=True)
class Task:
    """One COMMAND and what it needs in the machine besides the project."""

    command: tuple[str, ...]
    additions: tuple[Addition, ...]
    timeout: float | None
    on_terminal: bool
    console: Path | None
    systemd: bool


@dataclass(frozen=True)
class MachineOptions:
    """The machine that was asked for; `image` is used instead of the kernel's own if given."""

    kernel: str
    image: Path | None
    mode: str
    cntfrq: int | None
    smp: int
    icount: bool
    append: str


class Lab:
    """The lab of one checkout, with one cache."""

    def __init__(self, project: Path, cache: Cache) -> None:
        self.project = project
        self.cache = cache
        self._directory = project / "deploy" / "lab"
        self.kernels = kernels.load(self._directory / "kernels.toml")

    def packages(self) -> list[str]:
        """The Debian packages that the lab needs."""
        return sorted({*host.PACKAGES, *kernels.packages(self.kernels.values())})

    def require_packages(self) -> None:
        if absent := host.missing(self.packages()):
            raise LabError(
                f"Debian packages are missing: {' '.join(absent)}; "
                "`lab setup`, as root, installs them"
            )

    def rootfs_recipe(self) -> rootfs.Recipe:
        return rootfs.recipe(self.project, self._directory / "init.sh")

    def rootfs(self) -> Path:
        return rootfs.make(self.cache, self.rootfs_recipe())

    def kernel(self, name: str) -> Path:
        return kernel_build.make(self.cache, kernels.find(self.kernels, name))

    def workload(self) -> Path:
        return workload.make(self.cache, self._directory / "workload")

    def run(self, options: MachineOptions, task: Task) -> session.Outcome:
        """Boots the machine and runs the task in it; builds first what is not cached."""
        self.require_packages()
        machine = qemu.Machine(
            image=options.image or self.kernel(options.kernel),
            rootfs=self.rootfs(),
            mode=options.mode,
            cntfrq=options.cntfrq,
            smp=options.smp,
            icount=options.icount,
            append=options.append,
        )
        mark = secrets.token_hex(16).encode()
        with Emulator(machine, session.ports(task.on_terminal)) as emulator:
            self._fill(emulator.payload, task, mark)
            emulator.start()
            try:
                return session.Session(emulator, mark, task.on_terminal, task.timeout).run()
            finally:
                if task.console:
                    task.console.write_text(emulator.console(), encoding="utf-8")

    def _fill(self, path: Path, task: Task, mark: bytes) -> None:
        orders = {"argv": b"".join(os.fsencode(word) + b"\0" for word in task.command)}
        orders["mark"] = mark
        if task.on_terminal:
            orders["terminal"] = _terminal_order(os.environ.get)
        if task.systemd:
            orders["systemd"] = b""
        with Payload(path) as payload:
            payload.orders(orders)
            payload.project(self.project)
            for program in workload.PROGRAMS:
                payload.add(self.workload() / program, f"usr/local/bin/{program}")
            payload.link("lab/Image", qemu.IMAGE_DISK)
            for addition in task.additions:
                payload.add(addition.host, str(addition.guest))


def _terminal_order(environ: Callable[[str, str], str]) -> bytes:
    rows, columns = terminal.size()
    words = [environ("TERM", "linux"), environ("COLORTERM", ""), str(rows), str(columns)]
    return "".join(f"{word}\n" for word in words).encode()
