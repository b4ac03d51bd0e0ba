# SPDX-License-Identifier: GPL-2.0-only
"""Runs in the lab's machine: takes things from the host one by one and notes what lpttrace says.

Prints {case: {"status", "stdout", "stderr"}} as JSON. Standard library only. The last cases cannot
be undone: the machine ends after.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

FRAME = ["lpttrace", "top", "--once", "--interval", "0.1"]
BCC = Path("/usr/lib/python3/dist-packages/bcc")

results: dict[str, dict[str, object]] = {}


def note(case: str, command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    results[case] = {"status": done.returncode, "stdout": done.stdout, "stderr": done.stderr}
    print(f"{case}: {done.returncode}", file=sys.stderr)


@contextlib.contextmanager
def without(path: Path) -> Iterator[None]:
    aside = path.with_name(f"{path.name}.aside")
    # A directory of the overlay's lower layer cannot be renamed, a device not copied.
    move = shutil.move if path.is_dir() else os.rename
    move(path, aside)
    try:
        yield
    finally:
        move(aside, path)


@contextlib.contextmanager
def hidden(directory: str) -> Iterator[None]:
    """An empty file system over a directory of the kernel's."""
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", directory], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", directory], check=True)


@contextlib.contextmanager
def kprobes_off() -> Iterator[None]:
    switch = Path("/sys/kernel/debug/kprobes/enabled")
    switch.write_text("0")
    try:
        yield
    finally:
        switch.write_text("1")


@contextlib.contextmanager
def wrong_bcc() -> Iterator[None]:
    """What PyPI calls bcc: a package of that name, without BPF in it."""
    with without(BCC):
        BCC.mkdir()
        (BCC / "__init__.py").write_text('"""N-dim invertible BCC lattice"""\n')
        try:
            yield
        finally:
            shutil.rmtree(BCC)


def bpf_programs_left() -> int:
    """How many kprobes of ours the kernel still has."""
    return len(Path("/sys/kernel/debug/kprobes/list").read_text().splitlines())


def vmm(spec: str) -> list[str]:
    return ["labvmm", "--vm", spec, "--ops", "*.*:hvc:0x84000000=11"]


def one_after_another() -> None:
    """More VMs in all than slots, while `serve` is not scraped; then its metrics."""
    command = ["lpttrace", "serve", "--no-keep", "--max-vcpus", "2"]
    serve = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert serve.stderr
    while not serve.stderr.readline().startswith("listening"):
        pass
    for _ in range(6):
        subprocess.run(vmm("vcpus=2"), check=True, stdout=subprocess.DEVNULL)
        # serve looks every second at what has ended.
        time.sleep(3)
    with urllib.request.urlopen("http://127.0.0.1:9753/metrics") as response:
        print(response.read().decode())
    serve.terminate()
    sys.exit(serve.wait())


def main() -> None:
    note("fine", [*FRAME, "--json"])
    note("doctor", ["lpttrace", "doctor"])
    note("not root", ["setpriv", "--reuid=65534", "--clear-groups", *FRAME])
    note("doctor not root", ["setpriv", "--reuid=65534", "--clear-groups", "lpttrace", "doctor"])
    with without(Path("/dev/kvm")):
        note("no kvm", FRAME)
    with hidden("/sys/kernel/btf"):
        note("no btf", FRAME)
    with without(BCC):
        note("no bcc", FRAME)
    with wrong_bcc():
        note("wrong bcc", FRAME)
    note("no slot", [*FRAME, "--max-vcpus", "2", "--json", "--", *vmm("vcpus=4")])
    many = ["labvmm", "--vm", "count=4,vcpus=1", "--ops", "*.*:hvc:0x84000000=11"]
    paused = ["--rounds", "20", "--pause-us", "10000"]
    note("no record", [*FRAME, "--max-vcpus", "2", "--json", "--", *many, *paused])
    crowd = ["labvmm", "--vm", "vcpus=8", "--ops", "*.*:hvc:0x84000000=11"]
    note("crowd", [*FRAME, "--max-vcpus", "1", "--json", "--", *crowd, *paused])
    note("one after another", ["python3", __file__, "one after another"])
    note("no lpt symbol", [*FRAME, "--json", "--lpt-symbol", "no_such_function"])
    note("ipa only", [*FRAME, "--json", "--", *vmm("vcpus=1,lpt=ipa-only")])
    note("freq only", [*FRAME, "--json", "--", *vmm("vcpus=1,lpt=freq-only,pv-freq=100000000")])
    with kprobes_off():
        note("kprobes off", [*FRAME, "--json", "--", *vmm("vcpus=3,lpt=on,pv-freq=100000000")])
    with hidden("/sys/kernel/debug"), hidden("/sys/kernel/tracing"):
        note("no tracefs", FRAME)
    results["left"] = {"kprobes": bpf_programs_left()}
    Path("/sys/kernel/security/lockdown").write_text("confidentiality")
    note("lockdown", FRAME)
    note("doctor in lockdown", ["lpttrace", "doctor"])
    print(json.dumps(results))


if __name__ == "__main__":
    os.environ["LC_ALL"] = "C.UTF-8"
    one_after_another() if len(sys.argv) > 1 else main()
