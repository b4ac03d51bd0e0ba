# SPDX-License-Identifier: GPL-2.0-only
"""What capabilities are for: the agent with exactly those of docs/install.md, and without each."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Optional

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
PYTHON = sys.executable
NOBODY = 65534
BPF_NUMBER = 39

# The whole command, on a machine that is taken for an arm64 one. All else is looked at as always.
LPTTRACE = """
from lpttrace import host
host._architecture = lambda: host.Fact("architecture", host.YES, "taken for aarch64")
from lpttrace.cli import main
main()
"""


def pod_capabilities() -> list[str]:
    text = (REPOSITORY / "deploy/kubernetes/base/daemonset.yaml").read_text()
    (container,) = yaml.safe_load(text)["spec"]["template"]["spec"]["containers"]
    added: list[str] = container["securityContext"]["capabilities"]["add"]
    return added


NEEDED = pod_capabilities()


def confined(capabilities: list[str], *argv: str) -> list[str]:
    """The command with these capabilities and no way to others, as root's."""
    bound = ",".join(["-all", *(f"+{name.lower()}" for name in capabilities)])
    return ["setpriv", "--bounding-set", bound, "--no-new-privs", *argv]


def run(capabilities: list[str], *argv: str) -> subprocess.CompletedProcess[str]:
    command = confined(capabilities, PYTHON, "-c", LPTTRACE, *argv)
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)


@pytest.fixture(scope="module")
def pins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory to be, in a BPF file system of its own."""
    mounted = tmp_path_factory.mktemp("bpf")
    subprocess.run(["mount", "-t", "bpf", "bpf", mounted], check=True)
    yield mounted / "lpttrace"
    subprocess.run(["umount", mounted], check=True)


@contextmanager
def serving(pins: Path, capabilities: list[str]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The agent once it is ready, and what it has said; its last line says where it listens."""
    options = ["serve", "--listen", "127.0.0.1:0", "--pin-dir", str(pins)]
    argv = confined(capabilities, PYTHON, "-c", LPTTRACE, *options)
    with subprocess.Popen(argv, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            said = ""
            for line in process.stderr:
                said += line
                if line.startswith("listening on"):
                    break
            yield process, said
        finally:
            process.kill()


def attached(said: str) -> set[str]:
    """The probes that the agent shows as attached."""
    with urllib.request.urlopen(said.split()[-1], timeout=30) as answer:
        text = answer.read().decode()
    return set(re.findall(r'^lpttrace_probe_attached\{probe="(\w+)"\} 1', text, re.M))


@pytest.fixture(scope="module")
def everything(pins: Path) -> set[str]:
    """What this machine's kernel lets an agent attach that has exactly what a pod has."""
    with serving(pins, NEEDED) as (agent, said):
        found = attached(said)
        status = Path(f"/proc/{agent.pid}/status").read_text()
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(30) == 0
    assert "privileges" not in said
    caps = re.findall(r"^Cap(?:Eff|Prm):\s*(\w+)$", status, re.M)
    # Of these, once all is attached, reading needs one.
    assert {int(word, 16) for word in caps} == {1 << BPF_NUMBER}
    return found


def test_a_pod_has_what_serving_needs(everything: set[str]) -> None:
    assert {"kvm_entry", "kvm_userspace_exit"} <= everything


def test_the_next_agent_goes_on_with_what_is_pinned(pins: Path, everything: set[str]) -> None:
    with serving(pins, NEEDED) as (_, said):
        assert attached(said) == everything
    assert "afresh" not in said and list(pins.iterdir())


def test_unloading_takes_no_capability(pins: Path, everything: set[str]) -> None:
    with serving(pins, NEEDED):
        refused = run([], "unload", "--pin-dir", str(pins))
    assert refused.returncode == 1 and "stop it first" in refused.stderr
    done = run([], "unload", "--pin-dir", str(pins))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("removed ") and not pins.exists()


@pytest.mark.parametrize("missing", ["BPF", "PERFMON"])
def test_without_it_serve_does_not_start(missing: str, pins: Path) -> None:
    rest = [name for name in NEEDED if name != missing]
    done = run(rest, "serve", "--listen", "127.0.0.1:0", "--pin-dir", str(pins))
    assert done.returncode == 4
    assert "neither CAP_SYS_ADMIN nor CAP_BPF and CAP_PERFMON" in done.stderr


def kallsyms_is_open() -> bool:
    """Whether this kernel shows addresses to anybody."""
    restrict, paranoid = (
        int(Path("/proc/sys/kernel", name).read_text())
        for name in ("kptr_restrict", "perf_event_paranoid")
    )
    return restrict == 0 and paranoid <= 1


def kallsyms(capabilities: list[str]) -> tuple[str, str]:
    done = run(capabilities, "doctor", "--json")
    (fact,) = [fact for fact in json.loads(done.stdout)["facts"] if fact["name"] == "kallsyms"]
    return fact["state"], fact["detail"]


def test_without_syslog_only_addresses_are_hidden(pins: Path, everything: set[str]) -> None:
    rest = [name for name in NEEDED if name != "SYSLOG"]
    with serving(pins, rest) as (_, said):
        assert attached(said) == everything
    assert kallsyms(NEEDED) == ("yes", "/proc/kallsyms")
    state = "yes" if kallsyms_is_open() else "no"
    assert kallsyms(rest)[0] == state


def test_timing_programs_takes_sys_admin() -> None:
    done = run(NEEDED, "serve", "--no-keep", "--bpf-stats", "--listen", "127.0.0.1:0")
    assert done.returncode == 1
    assert "it needs CAP_SYS_ADMIN" in done.stderr


@pytest.fixture
def vmm(tmp_path: Path) -> Iterator[int]:
    """A process of another user, called otherwise than its program."""
    program = tmp_path / "qemu-system-aarch64"
    shutil.copy("/usr/bin/sleep", program)
    for directory in (tmp_path, *tmp_path.parents[:3]):
        directory.chmod(0o755)
    become = ["setpriv", "--reuid", str(NOBODY), "--clear-groups"]
    with subprocess.Popen([*become, "bash", "-c", f"exec -a vm {program} 600"]) as process:
        try:
            while os.readlink(f"/proc/{process.pid}/exe") != str(program):
                pass
            yield process.pid
        finally:
            process.kill()


def executable(capabilities: list[str], pid: int, hide: bool) -> Optional[str]:
    """What the agent takes for a process's program; hide: from who may not trace it."""
    code = (
        "import json, sys; from lpttrace.guests import read_process\n"
        "found = read_process(int(sys.argv[1])); print(json.dumps(found and found.executable))"
    )
    argv = confined(capabilities, PYTHON, "-c", code, str(pid))
    mount = "mount -t proc -o hidepid=ptraceable proc /proc && " if hide else ""
    inside = ["unshare", "--mount", "sh", "-c", f'{mount}exec "$@"', "sh", *argv]
    done = subprocess.run(inside, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    answer: Optional[str] = json.loads(done.stdout)
    return answer


def test_other_users_processes_take_sys_ptrace(vmm: int) -> None:
    assert executable([*NEEDED, "SYS_PTRACE"], vmm, hide=True) == "qemu-system-aarch64"
    assert executable(NEEDED, vmm, hide=True) is None
    # Without it, and not hidden, there is what the kernel has of the name.
    assert executable(NEEDED, vmm, hide=False) == "qemu-system-aar"


def domain(capabilities: list[str], path: Path) -> str:
    code = (
        "import pathlib, sys; from lpttrace.guests_libvirt import read_domain\n"
        "print(read_domain(pathlib.Path(sys.argv[1])))"
    )
    argv = confined(capabilities, PYTHON, "-c", code, str(path))
    done = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return done.stdout


def test_other_users_files_take_dac_read_search(tmp_path: Path) -> None:
    xml = tmp_path / "web.xml"
    xml.write_text("<domstatus pid='1'><domain><name>web</name></domain></domstatus>")
    xml.chmod(0o600)
    assert "name='web'" in domain(NEEDED, xml)
    os.chown(xml, NOBODY, NOBODY)
    assert "name='web'" in domain([*NEEDED, "DAC_READ_SEARCH"], xml)
    assert domain(NEEDED, xml) == "None\n"
