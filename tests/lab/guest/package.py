# SPDX-License-Identifier: GPL-2.0-only
"""Runs in the lab, under systemd: the life of a package, from its installation to nothing.

Prints one JSON document. Standard library only. The package is /root/lpttrace.deb.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from continuity import PINS, guests, kprobes, let_go, programs, scrape, truth_of

CGROUP = Path("/sys/fs/cgroup/system.slice/lpttrace.service/cgroup.procs")
# One vCPU: the service starts again and again beside it, on the other CPU.
VM = ("vcpus=1,lpt=try,pv-freq=100000000,stolen=try",)

PACKAGE = "/root/lpttrace.deb"
# What the lab itself has put there.
CHECKOUT = ("/usr/local/lib/python3.11/dist-packages", "/usr/local/bin/lpttrace")
# Not of the root file system, or of dpkg and the journal.
ELSEWHERE = {"/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp", "/var/log", "/var/lib/dpkg"}
OPS = "*.*:hvc:0x84000000=1013,hvc:0xc5000020:0xc5000021=7,read:cntp_ctl_el0=211"


def run(*argv: str) -> dict[str, Any]:
    done = subprocess.run(argv, capture_output=True, text=True)
    return {"status": done.returncode, "stdout": done.stdout, "stderr": done.stderr}


def files() -> set[str]:
    """Every path on the root file system."""
    found: set[str] = set()
    for directory, names, leaves in os.walk("/"):
        names[:] = [name for name in names if os.path.join(directory, name) not in ELSEWHERE]
        found |= {os.path.join(directory, name) for name in [*names, *leaves]}
    return found


def is_byte_code_of_others(path: str) -> bool:
    """Whether it is what Python keeps beside modules of another package, whoever imports them."""
    directory, found, _ = path.partition("/__pycache__")
    return bool(found) and run("dpkg", "--search", directory)["status"] == 0


def attached() -> dict[str, Any]:
    return {"pins": PINS.exists(), "kprobes": kprobes(), "programs": programs()}


def main_process() -> str:
    """The service's process, which has no children once it is ready; "" if there is none."""
    with suppress(OSError, IndexError):
        return CGROUP.read_text().split()[0]
    return ""


def active() -> bool:
    """Whether the service gets ready, which it says itself: waits for the start under way."""
    return bool(run("systemctl", "start", "lpttrace.service")["status"] == 0)


def privileges() -> dict[str, str]:
    status = Path(f"/proc/{main_process()}/status").read_text()
    return dict(re.findall(r"^(CapEff|CapBnd|NoNewPrivs|Seccomp):\s*(\w+)$", status, re.M))


def writable() -> list[str]:
    """Mounts, and the root directories, where the service could write if its user may."""
    process = main_process()
    mounts = Path(f"/proc/{process}/mountinfo").read_text().splitlines()
    places = {line.split()[4] for line in mounts} | {f"/{name}" for name in os.listdir("/")}
    code = "import os, sys; print(*(path for path in sys.argv[1:] if os.access(path, os.W_OK)))"
    inside = ("nsenter", "--target", process, "--mount", "python3", "-c", code)
    told: str = run(*inside, *sorted(places))["stdout"]
    return told.split()


def installed() -> dict[str, Any]:
    done = run("dpkg", "--install", PACKAGE)
    return {
        "dpkg": done,
        "active": active(),
        "enabled": run("systemctl", "is-enabled", "lpttrace.service", "lpttrace.socket"),
        "version": run("lpttrace", "--version"),
        "doctor": run("lpttrace", "doctor"),
        "privileges": privileges(),
        "writable": writable(),
        "attached": attached(),
        "log": run("journalctl", "--unit", "lpttrace", "--output", "cat", "--no-pager")["stdout"],
    }


def counted() -> dict[str, Any]:
    """What `top` of the package says of a command, beside the service."""
    command = ["labvmm", "--vm", "vcpus=2,lpt=on,pv-freq=100000000", "--ops", OPS]
    return run("lpttrace", "top", "--once", "--json", "--", *command)


def restarted_after(process: str) -> str:
    """Kills the service, and waits for the next one to be ready."""
    os.kill(int(process), signal.SIGKILL)
    while main_process() in ("", process):
        time.sleep(0.2)
    return main_process() if active() else ""


def upgraded() -> dict[str, Any]:
    """Killed, restarted and upgraded while a guest traps."""
    with guests(VM) as vmm:
        time.sleep(1)
        pids = [main_process()]
        pids.append(restarted_after(pids[0]))
        restarted = run("systemctl", "restart", "lpttrace.service")
        pids.append(main_process() if active() else "")
        done = run("dpkg", "--install", PACKAGE)
        again = active()
        pids.append(main_process())
        truth = truth_of(vmm)
        scraped = scrape()
        let_go(vmm)
    return {
        "pids": pids,
        "active": again,
        "restarted": restarted,
        "dpkg": done,
        "truth": truth,
        "scraped": scraped,
    }


def removed(before: set[str]) -> dict[str, Any]:
    steps = {}
    for option in ("--remove", "--purge"):
        done = run("dpkg", option, "lpttrace")
        state = run("dpkg-query", "--show", "--showformat=${db:Status-Status}", "lpttrace")
        left = sorted(path for path in files() - before if not is_byte_code_of_others(path))
        steps[option] = {"dpkg": done, "left": left, "attached": attached(), "state": state}
    units = run("systemctl", "list-units", "--all", "--plain", "--no-legend", "lpttrace*")
    return {**steps, "units": units["stdout"]}


def as_any_machine() -> None:
    """Makes what the lab's machine lacks, for no package there was ever configured: byte code of
    Debian's Python modules, and the directory of what multi-user.target wants."""
    modules = "bcc, lpttrace.cli_serve, lpttrace.exporter, lpttrace.keep, lpttrace.live"
    run("python3", "-c", f"import {modules}")
    run("py3clean", "--package", "lpttrace")
    os.makedirs("/etc/systemd/system/multi-user.target.wants", exist_ok=True)


def main() -> None:
    as_any_machine()
    for path in CHECKOUT:
        (shutil.rmtree if os.path.isdir(path) else os.unlink)(path)
    before, nothing = files(), attached()
    report = {
        "nothing": nothing,
        "installed": installed(),
        "counted": counted(),
        "upgraded": upgraded(),
        "removed": removed(before),
    }
    print(json.dumps(report))


main()
