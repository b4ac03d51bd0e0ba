# SPDX-License-Identifier: GPL-2.0-only
"""Runs in the lab's machine: agents that are killed, restarted and replaced while guests trap.

Prints one JSON document. Standard library only.
"""

from __future__ import annotations

import array
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional

PINS = Path("/sys/fs/bpf/lpttrace")
SERVE = ("lpttrace", "serve")
ADDRESS = "http://127.0.0.1:9753/metrics"
VMS = ("vcpus=2", "vcpus=1,lpt=try,pv-freq=100000000,stolen=try")
OPS = "*.*:hvc:0x84000000=7,hvc:0xc5000020:0xc5000021=2,read:cntp_ctl_el0=5,write:cntp_cval_el0=3"

# As systemd executes a service: descriptors from 3 on, and told to this process alone.
PASS_ON = """
import fcntl, os, sys
count = int(sys.argv[1])
high = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 200) for fd in sys.argv[2 : 2 + count]]
for place, fd in enumerate(high, 3):
    os.dup2(fd, place)
os.closerange(3 + len(high), 1024)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(high)))
os.execvp("lpttrace", ["lpttrace", "serve", *sys.argv[2 + count :]])
"""


class Agent:
    """`lpttrace serve`, from its first line to its end."""

    def __init__(self, *options: str, command: Sequence[str] = SERVE, **more: Any) -> None:
        command = [*command, *options]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **more)
        self.said = ""

    def ready(self) -> Agent:
        assert self.process.stderr
        for line in self.process.stderr:
            self.said += line
            if line.startswith("listening"):
                return self
        raise SystemExit(f"serve ended with {self.process.wait()}: {self.said}")

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        self.said += self.process.communicate()[1]
        return self.process.returncode


def scrape() -> str:
    with urllib.request.urlopen(ADDRESS, timeout=120) as response:
        text: str = response.read().decode()
    return text


def kprobes() -> int:
    return len(Path("/sys/kernel/debug/kprobes/list").read_text().splitlines())


def programs() -> int:
    """BPF programs of any process and pin: the kernel numbers them, and tells their number."""
    count, number = 0, 0
    shown = Path("/proc/kallsyms").read_text()
    for line in shown.splitlines():
        number = line.find("bpf_prog_")
        count += number > 0
    return count


@contextmanager
def guests(vms: Sequence[str] = VMS) -> Iterator[subprocess.Popen[str]]:
    """VMs that trap without pause until they are told to end."""
    argv = ["labvmm", "--forever", "--hold", "--spin", "50"]
    argv += [word for vm in vms for word in ("--vm", vm)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([*argv, "--ops", OPS], text=True, **pipes) as vmm:
        try:
            yield vmm
        finally:
            vmm.kill()


def truth_of(vmm: subprocess.Popen[str]) -> dict[str, Any]:
    """Ends the guests' work; what they did. They stand until their stdin is closed."""
    assert vmm.stdout
    vmm.send_signal(signal.SIGTERM)
    text = ""
    for line in vmm.stdout:
        text += line
        try:
            truth: dict[str, Any] = json.loads(text)
        except json.JSONDecodeError:
            continue
        return truth
    raise SystemExit(f"labvmm ended without its report: {text!r}")


def let_go(vmm: subprocess.Popen[str]) -> None:
    assert vmm.stdin
    vmm.stdin.close()
    vmm.wait()


def through_restarts() -> dict[str, Any]:
    """Killed and ended under full load; VMs start and end while nobody serves."""
    said, statuses = [], []
    first = Agent().ready()
    statuses.append(first.end(signal.SIGKILL))
    with guests() as vmm:
        # The LPT update is made now, in a kernel that nobody watches but the programs.
        time.sleep(1)
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGKILL):
            agent = Agent().ready()
            scrape()
            statuses.append(agent.end(number))
            said.append(agent.said)
            time.sleep(0.3)
        truth = truth_of(vmm)
        last = Agent().ready()
        alive = scrape()
        beside = top_beside()
        let_go(vmm)
    time.sleep(1.5)
    return {
        "statuses": statuses,
        "said": said,
        "truth": truth,
        "alive": alive,
        "beside": beside,
        "ended": {"status": last.end(signal.SIGTERM), "said": last.said},
    }


def top_beside() -> dict[str, Any]:
    before = kprobes(), programs()
    command = ["lpttrace", "top", "--once", "--json", "--interval", "0.2"]
    top = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    most = before
    while top.poll() is None:
        most = max(most[0], kprobes()), max(most[1], programs())
        time.sleep(0.05)
    out, errors = top.communicate()
    return {"frame": json.loads(out), "stderr": errors, "before": before, "most": most}


def top_of_command() -> dict[str, Any]:
    """VMs that live and die within `top -- COMMAND`, beside an agent that buries them."""
    agent = Agent().ready()
    command = ["labvmm", "--vm", "vcpus=3", "--ops", "*.*:hvc:0x84000000=1013"]
    top = subprocess.run(
        ["lpttrace", "top", "--once", "--json", "--", *command], capture_output=True, text=True
    )
    scraped = scrape()
    agent.end(signal.SIGTERM)
    frame = json.loads(top.stdout) if top.stdout else None
    return {"status": top.returncode, "stderr": top.stderr, "frame": frame, "scraped": scraped}


def two_agents() -> dict[str, Any]:
    first = Agent().ready()
    second = subprocess.run(["lpttrace", "serve"], capture_output=True, text=True)
    unload = subprocess.run(["lpttrace", "unload"], capture_output=True, text=True)
    return {
        "pid": first.process.pid,
        "second": {"status": second.returncode, "stderr": second.stderr},
        "unload": {"status": unload.returncode, "stderr": unload.stderr},
        "status": first.end(signal.SIGTERM),
    }


def refuses(*options: str) -> str:
    agent = Agent(*options).ready()
    agent.end(signal.SIGTERM)
    return agent.said


def changes() -> dict[str, Any]:
    """What an agent says of what another layout, or other options, have left."""
    size = refuses("--max-vcpus", "64")
    back = refuses()
    version = next(PINS.glob("v*"))
    version.rename(PINS / "v1")
    layout = refuses()
    left = sorted(path.name for path in PINS.iterdir())
    (PINS / "new").mkdir()
    half = refuses()
    return {"size": size, "back": back, "layout": layout, "left": left, "half": half}


def unloaded() -> dict[str, Any]:
    doctor = subprocess.run(["lpttrace", "doctor"], capture_output=True, text=True)
    before = {"kprobes": kprobes(), "programs": programs(), "pins": PINS.exists()}
    unload = subprocess.run(["lpttrace", "unload"], capture_output=True, text=True)
    time.sleep(1)
    again = subprocess.run(["lpttrace", "unload"], capture_output=True, text=True)
    after = {"kprobes": kprobes(), "programs": programs(), "pins": PINS.exists()}
    return {
        "doctor": doctor.stdout,
        "before": before,
        "after": after,
        "said": [unload.stdout, again.stdout],
        "statuses": [unload.returncode, again.returncode],
    }


def ctrl_c() -> dict[str, Any]:
    agent = Agent(preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)).ready()
    pinned = PINS.exists()
    status = agent.end(signal.SIGINT)
    time.sleep(1)
    return {"status": status, "pinned": pinned, "pins": PINS.exists(), "kprobes": kprobes()}


class Manager(threading.Thread):
    """The part of systemd that stores descriptors between two runs of a service.

    As there, a name may be stored twice, and the newest is passed on first.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._path = os.path.join(tempfile.mkdtemp(), "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self._path)
        self.stored: list[tuple[str, int]] = []
        self._settled = threading.Event()
        super().start()

    def run(self) -> None:
        while True:
            data, ancillary, _, _ = self._socket.recvmsg(4096, socket.CMSG_SPACE(4 * 16))
            told = dict(line.split("=", 1) for line in data.decode().splitlines())
            if told.get("FDSTORE") == "1":
                (fd,) = array.array("i", ancillary[0][2])
                self.stored.insert(0, (told["FDNAME"], fd))
            elif told.get("FDSTOREREMOVE") == "1":
                self.drop(told["FDNAME"])
            elif told.get("BARRIER") == "1":
                self._settled.set()

    def settle(self) -> None:
        """Wait until all that agents have sent is done."""
        self._settled.clear()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.sendto(b"BARRIER=1", self._path)
        self._settled.wait()

    def drop(self, name: str) -> None:
        for stored, fd in self.stored:
            if stored == name:
                os.close(fd)
        self.stored = [one for one in self.stored if one[0] != name]

    def start_agent(self, *options: str) -> Agent:
        self.settle()
        environment = {**os.environ, "NOTIFY_SOCKET": self._path}
        if not self.stored:
            return Agent(*options, env=environment)
        environment["LISTEN_FDNAMES"] = ":".join(name for name, _ in self.stored)
        fds = [fd for _, fd in self.stored]
        command = [sys.executable, "-c", PASS_ON, str(len(fds)), *map(str, fds)]
        return Agent(*options, command=command, env=environment, pass_fds=fds)


def by_descriptors() -> dict[str, Any]:
    """Without a BPF file system: everything is in the descriptor store."""
    subprocess.run(["umount", "/sys/fs/bpf"], check=True)
    alone = Agent().ready()
    alone.end(signal.SIGTERM)
    time.sleep(1)
    left = kprobes()
    manager = Manager()
    other = manager.start_agent("--max-vcpus", "64").ready()
    other.end(signal.SIGTERM)
    changed = manager.start_agent().ready()
    statuses = [changed.end(signal.SIGKILL)]
    with guests() as vmm:
        time.sleep(1)
        for number in (signal.SIGKILL, signal.SIGTERM):
            agent = manager.start_agent().ready()
            scrape()
            statuses.append(agent.end(number))
        truth = truth_of(vmm)
        agent = manager.start_agent().ready()
        alive = scrape()
        let_go(vmm)
    agent.end(signal.SIGKILL)
    manager.settle()
    stored = sorted(name for name, _ in manager.stored)
    for name in set(stored):
        manager.drop(name)
    time.sleep(1)
    return {
        "alone": alone.said,
        "change": changed.said,
        "left_alone": left,
        "stored": stored,
        "statuses": statuses,
        "truth": truth,
        "alive": alive,
        "left": kprobes(),
    }


STEPS = {
    "restarts": through_restarts,
    "command": top_of_command,
    "two": two_agents,
    "changes": changes,
    "unloaded": unloaded,
    "ctrl_c": ctrl_c,
    "descriptors": by_descriptors,
}


def main(names: Optional[list[str]]) -> None:
    report = {}
    for name in names or STEPS:
        report[name] = STEPS[name]()
        print(f"{name}: done", file=sys.stderr, flush=True)
    print(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1:])
