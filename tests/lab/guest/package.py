# SPDX-License-Identifier: GPL-2.0-only
"""Runs in the lab, under systemd: the life of a package, from its installation to nothing.

Prints one JSON document. Standard library only. The package is /root/lpttrace.deb.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from continuity import PINS, guests, kprobes, let_go, programs, scrape, truth_of

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


def attached() -> dict[str, Any]:
    return {"pins": PINS.exists(), "kprobes": kprobes(), "programs": programs()}


def shown(name: str) -> str:
    return run("systemctl", "show", "-P", name, "lpttrace.service")["stdout"].strip()


def active() -> bool:
    """Whether the service gets ready, which it says itself."""
    while shown("ActiveState") == "activating":
        time.sleep(0.5)
    return shown("ActiveState") == "active"


def privileges() -> dict[str, str]:
    status = Path(f"/proc/{shown('MainPID')}/status").read_text()
    return dict(re.findall(r"^(CapEff|CapBnd|NoNewPrivs|Seccomp):\s*(\w+)$", status, re.M))


def writable() -> list[str]:
    """Mounts, and the root directories, where the service could write if its user may."""
    process = shown("MainPID")
    mounts = Path(f"/proc/{process}/mountinfo").read_text().splitlines()
    places = {line.split()[4] for line in mounts} | {f"/{name}" for name in os.listdir("/")}
    code = "import os, sys; print(*(path for path in sys.argv[1:] if os.access(path, os.W_OK)))"
    inside = ("nsenter", "--target", process, "--mount", "python3", "-c", code)
    return run(*inside, *sorted(places))["stdout"].split()


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


def upgraded() -> dict[str, Any]:
    """Killed, restarted and upgraded while guests trap."""
    with guests() as vmm:
        time.sleep(1)
        pids = [shown("MainPID")]
        run("systemctl", "kill", "--signal", "KILL", "--kill-who", "main", "lpttrace.service")
        time.sleep(3)
        killed = active()
        pids.append(shown("MainPID"))
        restarted = run("systemctl", "restart", "lpttrace.service")
        done = run("dpkg", "--install", PACKAGE)
        again = active()
        pids.append(shown("MainPID"))
        truth = truth_of(vmm)
        scraped = scrape()
        let_go(vmm)
    return {
        "pids": pids,
        "active": [killed, again],
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
        left = sorted(files() - before)
        steps[option] = {"dpkg": done, "left": left, "attached": attached(), "state": state}
    units = run("systemctl", "list-units", "--all", "--plain", "--no-legend", "lpttrace*")
    return {**steps, "units": units["stdout"]}


def main() -> None:
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
