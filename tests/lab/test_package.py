# SPDX-License-Identifier: GPL-2.0-only
"""The Debian package in a machine that runs systemd: installed, counting, upgraded and removed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lpttrace import __version__
from tests.lab.conftest import LabRun
from tests.lab.counts import Counts, counts_by_vcpu, metric_samples, shown_of, truth_of

CAPABILITIES = {"CAP_DAC_READ_SEARCH": 2, "CAP_SYS_PTRACE": 19, "CAP_SYSLOG": 34}
CAPABILITIES |= {"CAP_PERFMON": 38, "CAP_BPF": 39}

ENABLED = {("multi-user", "lpttrace.service"), ("sockets", "lpttrace.socket")}
# Where Debian's packages remember what was enabled, until they are purged.
HELPER = "/var/lib/systemd/deb-systemd-helper-enabled"


@pytest.fixture(scope="module")
def deb(repository: Path) -> Path:
    subprocess.run(["make", "--silent", "deb"], cwd=repository, check=True)
    return repository / f"build/deb/lpttrace_{__version__}_all.deb"


@pytest.fixture(scope="module")
def report(deb: Path, lab: Callable[[list[str], list[str]], LabRun]) -> dict[str, Any]:
    options = ["--systemd", "--timeout", "900", "--add", f"{deb}:/root/lpttrace.deb"]
    done = lab(options, ["python3", "/tmp/guest/package.py"])
    assert done.status == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def in_order(counts: list[Counts]) -> list[list[tuple[tuple[str, ...], int]]]:
    return sorted(sorted(vcpu.items()) for vcpu in counts)


def test_lintian_finds_nothing(deb: Path) -> None:
    argv = ["lintian", "--allow-root", "--fail-on", "error,warning", str(deb)]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_installed_it_runs(report: dict[str, Any]) -> None:
    step = report["installed"]
    assert step["dpkg"]["status"] == 0 and "warning" not in step["dpkg"]["stderr"]
    assert step["active"] and step["enabled"]["stdout"].split() == ["enabled", "enabled"]
    assert step["version"]["stdout"] == f"lpttrace {__version__}\n"
    assert "listening on http://127.0.0.1:9753/metrics\n" in step["log"]
    assert "warning" not in step["log"] and "cannot" not in step["log"]


def test_doctor_finds_everything_and_the_agent(report: dict[str, Any]) -> None:
    doctor = report["installed"]["doctor"]
    assert doctor["status"] == 0, doctor["stdout"]
    (line,) = [line for line in doctor["stdout"].splitlines() if " agent " in line]
    assert line.startswith("  ok  agent ") and "/usr/bin/lpttrace serve" in line


def test_the_service_may_do_what_it_needs_and_no_more(report: dict[str, Any]) -> None:
    step = report["installed"]
    privileges = step["privileges"]
    allowed = sum(1 << bit for bit in CAPABILITIES.values())
    assert int(privileges["CapBnd"], 16) == allowed
    assert int(privileges["CapEff"], 16) & ~allowed == 0
    assert (privileges["NoNewPrivs"], privileges["Seccomp"]) == ("1", "2")
    places = {path for path in step["writable"] if not path.startswith(("/proc", "/dev"))}
    assert places == {"/sys/fs/bpf", "/tmp", "/var/tmp"}


def test_its_pins_are_the_hosts(report: dict[str, Any]) -> None:
    attached = report["installed"]["attached"]
    assert attached["pins"] and attached["kprobes"] > 5 and attached["programs"] > 10


def test_top_of_the_package_counts_to_the_last_trap(report: dict[str, Any]) -> None:
    step = report["counted"]
    assert step["status"] == 0, step["stderr"]
    # The command's own output, the guest's truth, went to stderr.
    truth = [truth_of(vcpu, True) for vcpu in json.loads(step["stderr"])["vms"][0]["vcpus"]]
    (vm,) = json.loads(step["stdout"])["vms"]
    assert in_order([shown_of(vcpu) for vcpu in vm["vcpus"]]) == in_order(truth)
    assert [vcpu["timer", "cntp_ctl_el0", "read"] for vcpu in truth] == [211, 211]


def test_an_upgrade_loses_no_event(report: dict[str, Any]) -> None:
    step = report["upgraded"]
    assert step["active"] and len(set(step["pids"]) - {""}) == 4
    assert step["restarted"]["status"] == 0 and step["dpkg"]["status"] == 0
    samples = metric_samples(step["scraped"])
    alive = {s.labels["vm"] for s in samples["lpttrace_vm_info"]}
    shown = [vcpu for (vm, _), vcpu in counts_by_vcpu(samples).items() if vm in alive]
    truth = [truth_of(vcpu, True) for vm in step["truth"]["vms"] for vcpu in vm["vcpus"]]
    for vcpu in in_order(truth):
        assert vcpu in in_order(shown)
    assert sum(sum(vcpu.values()) for vcpu in truth) > 10_000


@pytest.mark.parametrize("option", ["--remove", "--purge"])
def test_removed_it_counts_no_more(report: dict[str, Any], option: str) -> None:
    step = report["removed"][option]
    assert step["dpkg"]["status"] == 0, step["dpkg"]["stderr"]
    assert step["attached"] == report["nothing"]
    assert report["removed"]["units"] == ""


def test_removed_it_leaves_what_was_enabled(report: dict[str, Any]) -> None:
    # As every package of Debian's: links to units that are gone, which systemd passes over.
    links = {f"{wants}.target.wants/{unit}" for wants, unit in ENABLED}
    left = {path for path in report["removed"]["--remove"]["left"] if not path.startswith(HELPER)}
    assert left - {"/etc/systemd/system/sockets.target.wants"} == {
        f"/etc/systemd/system/{link}" for link in links
    }


def test_purged_it_leaves_nothing(report: dict[str, Any]) -> None:
    assert report["removed"]["--purge"]["left"] == []
