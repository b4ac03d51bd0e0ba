# SPDX-License-Identifier: GPL-2.0-only
"""The emulated machine as QEMU's command line. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

BINARY = "qemu-system-aarch64"
MEMORY_MIB = 2048
# How KVM runs on each: cortex-a57 has no VHE; of what max has, pointer authentication and SVE
# cost much to emulate and change nothing here.
CPUS = {"nvhe": "cortex-a57", "vhe": "max,pauth=off,sve=off"}
OUTPUT, ERRORS, CONTROL, TERMINAL = "lab.stdout", "lab.stderr", "lab.control", "lab.terminal"
# Where the machine finds the image of the kernel that it runs, for guests to run it, too.
IMAGE_DISK = "/dev/vdc"
# Any failure of the kernel ends the machine (with -no-reboot) instead of hanging it. QEMU
# translates a program anew wherever it is loaded: always at the same addresses, its later runs are
# a fifth faster.
KERNEL_ARGUMENTS = "console=ttyAMA0 root=/dev/vda ro init=/sbin/init panic=-1 oops=panic norandmaps"


@dataclass(frozen=True)
class Machine:
    """What distinguishes one emulated host from another."""

    image: Path
    rootfs: Path
    mode: str = "nvhe"
    cntfrq: int | None = None
    smp: int = 2
    icount: bool = False
    append: str = ""


@dataclass(frozen=True)
class Run:
    """What one run of a machine adds: its payload, its console log, our ends of its ports."""

    payload: Path
    console: Path
    ports: Mapping[str, int]


def command(machine: Machine, run: Run) -> list[str]:
    """QEMU's argv; `run.ports` are the names of virtio ports and the inherited sockets they use."""
    frequency = f",cntfrq={machine.cntfrq}" if machine.cntfrq else ""
    argv = [BINARY, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]
    argv += ["-machine", "virt,virtualization=on,gic-version=3"]
    argv += ["-cpu", CPUS[machine.mode] + frequency]
    argv += ["-smp", str(machine.smp), "-m", str(MEMORY_MIB)]
    argv += ["-icount", "shift=1,sleep=off"] if machine.icount else []
    argv += ["-kernel", str(machine.image)]
    argv += ["-append", f"{KERNEL_ARGUMENTS} {machine.append}".rstrip()]
    argv += ["-chardev", f"file,id=console,path={_escaped(run.console)}"]
    argv += ["-serial", "chardev:console"]
    # The board gives its last virtio slot to the first device, and Linux counts from the first.
    argv += _disk("image", machine.image)
    argv += _disk("payload", run.payload) + _disk("root", machine.rootfs)
    argv += ["-object", "rng-builtin,id=rng", "-device", "virtio-rng-device,rng=rng"]
    return argv + _ports(run.ports)


def _disk(name: str, path: Path) -> list[str]:
    file = {"driver": "file", "filename": str(path), "read-only": True}
    block = {"driver": "raw", "node-name": name, "read-only": True, "file": file}
    return ["-blockdev", json.dumps(block), "-device", f"virtio-blk-device,drive={name}"]


def _ports(ports: Mapping[str, int]) -> list[str]:
    argv = ["-device", "virtio-serial-device"]
    for name, descriptor in ports.items():
        argv += ["-chardev", f"socket,id={name},fd={descriptor}"]
        argv += ["-device", f"virtserialport,chardev={name},name={name}"]
    return argv


def _escaped(path: Path) -> str:
    """QEMU's options separate values by commas and take a doubled one as itself."""
    return str(path).replace(",", ",,")
